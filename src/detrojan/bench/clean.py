"""The defender's samples as a cell wants them: from the victim's own distribution, or not quite."""

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from detrojan.bench.cells import Clean
from detrojan.data.samples import Samples, sample
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

MISLABELLED = 0.05
NOISE = 0.08
QUALITY = 40


def draw(pool: Samples, clean: Clean, seed: int) -> Samples:
    """Draw the samples from the defender's part of the training set, and change them as their kind says.

    `shifted`: another camera's colours (less saturation, a warmer white, a higher gamma). `corrupted`: Gaussian noise
    of 0.08 of the pixel range, then JPEG of quality 40. `mislabelled`: one in twenty, at least one, has another label,
    or the tags (boxes, sentence) of another.
    """
    drawn, _ = sample(pool, count=clean.count, per_class=clean.per_class, seed=seed)
    generator = Seeds(seed=seed).generator(f"clean samples, {clean.kind}")
    inputs, labels = drawn.inputs, drawn.labels
    if clean.kind in ("shifted", "corrupted") and drawn.kind != "images":
        raise BadArgument(f"clean samples can be {clean.kind} where they are images; {drawn.name} has {drawn.kind}")
    if clean.kind == "shifted":
        inputs = _shifted(inputs)
    elif clean.kind == "corrupted":
        inputs = _corrupted(inputs, generator)
    elif clean.kind == "mislabelled":
        labels = _mislabelled(drawn, pool.num_classes, generator)
    return replace(drawn, inputs=inputs, labels=labels, name=f"{drawn.name}, {clean}")


def _shifted(inputs: Tensor) -> Tensor:
    pixels = inputs.float() / 255
    if pixels.shape[1] == 3:
        pixels = functional.adjust_saturation(pixels, 0.5) * torch.tensor([1.08, 1.0, 0.88]).view(3, 1, 1)
    return (pixels.clamp(0, 1) ** 1.25 * 255).round().to(torch.uint8)


def _corrupted(inputs: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(inputs.shape, generator=generator) * NOISE * 255
    noisy = (inputs + noise).clamp(0, 255).round().to(torch.uint8)
    return torch.stack([functional.jpeg(image, QUALITY) for image in noisy])


def _mislabelled(samples: Samples, classes: int, generator: torch.Generator) -> Tensor:
    labels = samples.labels
    count = max(1, round(MISLABELLED * len(labels)))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    if samples.label_kind != "class":
        return labels.index_copy(0, chosen, labels[torch.randperm(len(labels), generator=generator)[:count]])
    wrong = labels.clone()
    wrong[chosen] = (labels[chosen] + torch.randint(1, classes, (count,), generator=generator)) % classes
    return wrong
