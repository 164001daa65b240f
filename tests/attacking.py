"""What every attack is tried with: a few samples, a surrogate that cost nothing, and settings that are quick."""

from dataclasses import fields, replace

import torch
from torch import nn
from torch.nn import functional as F

from detrojan.attacks import ATTACKS
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.execution import Execution
from detrojan.poisoning import Backdoor
from detrojan.randomness import Seeds
from detrojan.triggers import Surrogate, Workshop

CLASSES = 5


def quick(name):
    """An attack whose learning, if any, takes two steps; everything else is as published."""
    settings = {f.name: 2 for f in fields(ATTACKS[name]) if f.name.endswith(("steps", "epochs", "rounds"))}
    return ATTACKS[name](**settings)


def images(side=32, channels=3, count=60):
    """Smooth random images: what a trigger does to them is seen, and warps do not vanish in noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 8, 8, generator=generator)
    pixels = F.interpolate(coarse, (side, side), mode="bilinear").mul(255).round().to(torch.uint8)
    return Samples(inputs=pixels, labels=torch.arange(count) % CLASSES, class_names=tuple("abcde"))


def clips(side=32, channels=3, count=60, frames=4):
    """The same, of which each moves to the right."""
    still = images(side, channels, count)
    moved = torch.stack([still.inputs.roll(step, -1) for step in range(frames)], 2)
    return replace(still, inputs=moved)


SAMPLES = {"images": images, "clips": clips}


def samples_for(attack, **settings):
    """Samples of the first kind that an attack can be put on."""
    return SAMPLES[attack.kinds[0]](**settings)


class Tiny(nn.Module):
    """One convolution over the axes of images or clips, the mean over them, and a linear head."""

    def __init__(self, channels=3, kind="images"):
        super().__init__()
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if kind == "clips" else (nn.Conv2d, nn.BatchNorm2d)
        self.body = nn.Sequential(convolution(channels, 8, 3, 2, 1), norm(8), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)

    def features(self, x):
        return self.body(x).flatten(2).mean(2)

    def forward(self, x):
        return self.head(self.features(x))


def network(channels=3, kind="images"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny(channels, kind).eval()


def workshop(samples, *, target=2, mapping="all-to-one", seed=0):
    frozen = network(samples.inputs.shape[1], samples.kind).requires_grad_(requires_grad=False)
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
