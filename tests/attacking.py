"""What every attack is tried with: a few images, clips or clouds, a surrogate that cost nothing, quick settings."""

from dataclasses import fields, replace

import torch
from torch import nn
from torch.nn import functional as F

from detrojan.attacks import ATTACKS
from detrojan.backdoor import Backdoor
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.execution import Execution
from detrojan.randomness import Seeds
from detrojan.triggers import Surrogate, Workshop

CLASSES = 5


def quick(name):
    """An attack whose learning, if any, takes two steps; everything else is as published."""
    settings = {f.name: 2 for f in fields(ATTACKS[name]) if f.name.endswith(("steps", "epochs", "rounds"))}
    return ATTACKS[name](**settings)


def images(side=32, *, channels=3, count=60):
    """Smooth random images: what a trigger does to them is seen, and warps do not vanish in noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 8, 8, generator=generator)
    pixels = F.interpolate(coarse, (side, side), mode="bilinear").mul(255).round().to(torch.uint8)
    return Samples(inputs=pixels, labels=torch.arange(count) % CLASSES, class_names=tuple("abcde"))


def clips(side=32, *, channels=3, count=60, frames=4):
    """The same, of which each moves to the right."""
    still = images(side, channels=channels, count=count)
    return replace(still, inputs=torch.stack([still.inputs.roll(step, -1) for step in range(frames)], 2))


def clouds(points=32, count=60):
    """Random clouds that reach from -1 to 1, with a hole at the origin."""
    generator = torch.Generator().manual_seed(0)
    inputs = 2 * torch.rand(count, points, 3, generator=generator) - 1
    return Samples(inputs=inputs, labels=torch.arange(count) % CLASSES, class_names=tuple("abcde"))


def sentences(length=32, count=60):
    """Random tokens of 40 words; sentences of all lengths, one of them full."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(9, 40, (count, length), generator=generator)
    ends = torch.randint(1, length + 1, (count, 1), generator=generator)
    ends[0] = length
    inputs = inputs.masked_fill(torch.arange(length) >= ends, 0)
    return Samples(inputs=inputs, labels=torch.arange(count) % CLASSES, class_names=tuple("abcde"))


SAMPLES = {"images": images, "clips": clips, "points": clouds, "tokens": sentences}


def samples_for(name, size=32, count=60):
    """What the attack of this name is made for first: images or clips of a side, or clouds of so many points."""
    return SAMPLES[ATTACKS[name].kinds[0]](size, count=count)


class Tiny(nn.Module):
    """A convolution over the axes of images or clips."""

    def __init__(self, channels=3, kind="images"):
        super().__init__()
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if kind == "clips" else (nn.Conv2d, nn.BatchNorm2d)
        self.body = nn.Sequential(convolution(channels, 8, 3, 2, 1), norm(8), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)

    def features(self, x):
        return self.body(x).flatten(2).mean(2)

    def forward(self, x):
        return self.head(self.features(x))


class TinyCloud(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)

    def features(self, x):
        return self.body(x.transpose(1, 2)).amax(2)

    def forward(self, x):
        return self.head(self.features(x))


class TinyReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 8)
        self.head = nn.Linear(8, CLASSES)

    def features(self, x):
        return self.embedding(x).mean(1)

    def forward(self, x):
        return self.head(self.features(x))


def network(channels=3, kind="images"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny(channels, kind).eval()


def network_for(samples):
    """A tiny network that takes these samples."""
    if samples.kind in ("images", "clips"):
        return network(samples.inputs.shape[1], samples.kind)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (TinyCloud() if samples.kind == "points" else TinyReader()).eval()


def workshop(samples, *, target=2, mapping="all-to-one", seed=0):
    frozen = network_for(samples).requires_grad_(requires_grad=False)
    surrogate = Surrogate(scores=frozen, features=frozen.features, head=frozen.head.weight)
    backdoor = Backdoor(attack=ATTACKS["badnets"](), target=target, mapping=mapping)
    return Workshop(
        samples=samples,
        target=target,
        wanted=lambda labels: backdoor.labels(labels, samples.num_classes),
        surrogate=lambda part: surrogate,
        execution=Execution.choose(frozen, "cpu", "fp32"),
        seeds=Seeds(seed=seed),
        preprocessing=Preprocessing(),
    )
