"""What a victim sees and what its copy is shown: mixed inputs, and weak and strong views of the same images."""

from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from detrojan.augmentation import brightness, bytes_of, pixels_of, strong_view
from detrojan.data.samples import Samples
from detrojan.tuning import Context

View = tuple[Any, Any]
"""What the victim sees, and what its copy is shown: prepared inputs, of equal number."""
ROOM = 2**30
"""Bytes that the images with their strong views may take, beyond one view of each."""


def with_strong_views(clean: Samples, context: Context, views: int) -> Samples | None:
    """Each image with a strong view of it behind its channels, `views` times as many; None of what is no image."""
    if clean.label_kind == "boxes" or not _pixels(clean):
        return None
    generator = context.seeds.generator("strong views")
    count = max(1, min(views, ROOM // (2 * clean.inputs.nbytes)))
    strong = [strong_view(clean.inputs, generator) for _ in range(count)]
    stored = [bytes_of(each) if clean.inputs.dtype == torch.uint8 else each for each in strong]
    inputs = torch.cat([torch.cat([clean.inputs, each], 1) for each in stored])
    return replace(clean, inputs=inputs, labels=torch.cat([clean.labels] * count))


def _pixels(clean: Samples) -> bool:
    """Whether the samples are images that RandAugment can read: bytes or pixels in [0, 1], grey or in three colours."""
    pixels = pixels_of(clean.inputs)
    pictures = pixels.ndim == 4 and pixels.is_floating_point() and pixels.shape[1] in (1, 3)
    return pictures and float(pixels.amin()) >= 0 and float(pixels.amax()) <= 1


def mixed(inputs: Tensor, context: Context, generator: Generator) -> list[View]:
    """Inputs in disguise, the same for both: weakly changed, of other brightness, mixed."""
    varied = _varied(context.task.augment(inputs, generator), generator)
    both = context.task.mixup(context.preprocessing(varied), generator).inputs
    return [(both, both)]


def mixed_and_strong(pairs: Tensor, context: Context, generator: Generator) -> list[View]:
    """Half of the batch mixed, the same for both; of the other half, cropped alike, weak views and strong ones."""
    weak, strong = context.task.augment(pairs, generator).chunk(2, 1)
    half = len(weak) // 2
    both = context.task.mixup(context.preprocessing(_varied(weak[:half], generator)), generator).inputs
    seen = context.preprocessing(_varied(weak[half:], generator))
    return [(both, both), (seen, context.preprocessing(strong[half:]))]


def _varied(inputs: Tensor, generator: Generator) -> Tensor:
    pixels = pixels_of(inputs)
    return brightness(pixels, generator) if pixels.is_floating_point() else pixels
