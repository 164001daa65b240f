"""Changes that one attacker makes to all images alike: a patch laid over them, a warp, a filter; one for each class.

A kind of change holds the free numbers of K changes at once, and says what these show, how that is laid over images,
and how large it is. Few numbers make a warp or a filter, so that hardly any network is led far by a small one unless
it was taught to be.
"""

from collections.abc import Sequence
from math import ceil
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

CELLS = 64
"""A patch has so many cells a side at most, and a filter so many steps; larger images have some of several pixels."""
MOVES = 4
"""A warp has so many moves a side; between them it is smooth."""
FURTHEST = 0.15
"""The longest move, as a share of the image's side."""
REACH = 3
"""A filter's side, in steps."""


class Change(Protocol):
    """K changes of one kind.

    Of each kind is known what it is called, what its size is a share of, the share of images that it should send to
    its class, which share of the next class's is as odd as not, and whether a small one is surely the attacker's: a
    warp or a filter is, a patch may lie beside his.

    Args:
        classes: K.
        shape: of an image, (C, H, W).
        limits: of its pixels.
        generator: draws the first free numbers, on its device.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    success: ClassVar[float]
    odd: ClassVar[float]
    sure: ClassVar[bool]
    learning_rate: ClassVar[float]
    free: list[Tensor]

    def __init__(
        self, classes: int, shape: Sequence[int], limits: tuple[float, float], generator: Generator
    ) -> None: ...

    def shown(self) -> list[Tensor]:
        """What the free numbers stand for, each (K, ...)."""
        ...

    def laid(self, shown: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Images (B, C, H, W), each changed by its own part of what is shown, (B, ...)."""
        ...

    def sizes(self, shown: Sequence[Tensor]) -> Tensor:
        """How large each change is, a share (K,)."""
        ...


class Patch(Change):
    """An opacity in (0, 1) for each cell, and a pattern under it. Its size is the mean opacity.

    Source: Wang et al., "Neural Cleanse" (S&P 2019).
    """

    name = "patch"
    unit = "of the pixels"
    success = 0.98
    odd = 0.6
    sure = False
    learning_rate = 0.1

    def __init__(self, classes: int, shape: Sequence[int], limits: tuple[float, float], generator: Generator) -> None:
        channels, *sides = shape
        self.low, self.high = limits
        cells = [ceil(side / _step(sides)) for side in sides]
        masks = torch.randn(classes, 1, *cells, generator=generator, device=generator.device)
        patterns = torch.randn(classes, channels, *cells, generator=generator, device=generator.device)
        self.free = [(masks / 2 - 2).requires_grad_(), patterns.requires_grad_()]

    def shown(self) -> list[Tensor]:
        masks, patterns = (raw.tanh() / 2 + 0.5 for raw in self.free)
        return [masks, self.low + (self.high - self.low) * patterns]

    def laid(self, shown: Sequence[Tensor], pixels: Tensor) -> Tensor:
        opacity, pattern = (F.interpolate(each, pixels.shape[2:]) for each in shown)
        return torch.lerp(pixels, pattern, opacity.expand_as(pixels))

    def sizes(self, shown: Sequence[Tensor]) -> Tensor:
        return shown[0].mean((1, 2, 3))


class Warp(Change):
    """Each pixel is taken from a place that a smooth field says. Its size is the root mean square of the moves."""

    name = "warp"
    unit = "of the side"
    success = 0.9
    odd = 0.4
    sure = True
    learning_rate = 0.05

    def __init__(self, classes: int, shape: Sequence[int], limits: tuple[float, float], generator: Generator) -> None:
        del shape, limits
        moves = torch.randn(classes, 2, MOVES, MOVES, generator=generator, device=generator.device)
        self.free = [(moves / 10).requires_grad_()]

    def shown(self) -> list[Tensor]:
        return [FURTHEST * self.free[0].tanh()]

    def laid(self, shown: Sequence[Tensor], pixels: Tensor) -> Tensor:
        sides = list(pixels.shape[2:])
        moves = F.interpolate(shown[0], sides, mode="bicubic", align_corners=True)
        still = F.affine_grid(torch.eye(2, 3, device=pixels.device)[None], [1, 1, *sides], align_corners=True)
        places = still + 2 * moves.permute(0, 2, 3, 1)
        return F.grid_sample(pixels, places.to(pixels), padding_mode="reflection", align_corners=True)

    def sizes(self, shown: Sequence[Tensor]) -> Tensor:
        return shown[0].square().mean((1, 2, 3)).sqrt()


class Filter(Change):
    """Adds to each pixel a weighted sum of those around it and a constant. Its size: the weights' root mean square."""

    name = "filter"
    unit = "of a pixel's own weight"
    success = 0.98
    odd = 0.6
    sure = True
    learning_rate = 0.01

    def __init__(self, classes: int, shape: Sequence[int], limits: tuple[float, float], generator: Generator) -> None:
        channels, *sides = shape
        self.low, self.high, self.step = *limits, _step(sides)
        around = channels * REACH**2 + 1
        weights = torch.randn(classes, channels, around, generator=generator, device=generator.device)
        self.free = [(weights / 100).requires_grad_()]

    def shown(self) -> list[Tensor]:
        return [self.free[0].tanh()]

    def laid(self, shown: Sequence[Tensor], pixels: Tensor) -> Tensor:
        count, channels = pixels.shape[:2]
        half = (self.high - self.low) / 2
        margin = [self.step * (REACH // 2)] * 4
        around = F.pad(pixels - self.low - half, margin, mode="replicate").flatten(0, 1)[None]
        weights = shown[0][..., :-1].reshape(count * channels, channels, REACH, REACH)
        constants = half * shown[0][..., -1].flatten()
        added = F.conv2d(around, weights, constants, dilation=self.step, groups=count)
        return (pixels + added.view_as(pixels)).clamp(self.low, self.high)

    def sizes(self, shown: Sequence[Tensor]) -> Tensor:
        return shown[0].square().mean((1, 2)).sqrt()


KINDS: tuple[type[Change], ...] = (Patch, Warp, Filter)
"""In the order in which they are sought."""


def _step(sides: Sequence[int]) -> int:
    """How many pixels a cell of an image with such sides has."""
    return ceil(max(sides) / CELLS)
