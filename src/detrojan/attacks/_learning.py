"""What attacks share that learn their trigger before the victim is trained."""

from collections.abc import Iterator

import torch
from torch import Tensor

from detrojan.errors import BadArgument
from detrojan.triggers import Surrogate, Workshop


def surrogate(workshop: Workshop, count: int) -> Surrogate:
    """A clean network of the attacker's own, trained on at most `count` of the attacker's images, drawn at random."""
    order = torch.randperm(len(workshop.samples), generator=workshop.seeds.generator("the surrogate's images"))
    return workshop.surrogate(workshop.samples.subset(order[:count].sort().values))


def batches(images: Tensor, *, steps: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` random batches of stored images (N, C, H, W), as pixels in [0, 1], at most `size` each."""
    for _ in range(steps):
        chosen = torch.randperm(len(images), generator=generator)[:size]
        yield images[chosen].float() / 255


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a number that is too small."""
    if value < least:
        raise BadArgument(f"{name} must be at least {least}, got {value}")
