"""WaNet: a small elastic warp of the whole image, the same for all. Source: Nguyen and Tran, "WaNet" (2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class WaNet(Trigger):
    """Samples each pixel from a place that a smooth field moves by about `strength` / 2 pixels of a 32-pixel image.

    `grid` x `grid` moves are drawn uniformly by `warp_seed`, divided by their mean size and upsampled (bicubic) to the
    image; they are `strength` / 32 in units of half a side. The published code divides by the side instead, so that the
    warp of a larger image is weaker in proportion; here it looks the same at every size.

    Dirty label. Who is poisoned is drawn anew in each epoch. For each poisoned image two others are warped with noise
    and keep their labels: the same field, and on top a move of up to half a pixel of a 32-pixel image (the published
    1 / H, scaled likewise), drawn for every pixel. The warp comes before augmentation.
    """

    redraws: ClassVar[bool] = True
    companions: ClassVar[float] = 2.0

    grid: int = 4
    strength: float = 0.5
    warp_seed: int = 0

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise BadArgument(f"grid must be at least 2 moves a side, got {self.grid}")
        if not self.strength > 0:
            raise BadArgument(f"strength must be above 0, got {self.strength}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Warp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        return _sampled(pixels, self._places(pixels))

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Warp with noise that differs from image to image and from pixel to pixel."""
        del labels
        shape = (len(pixels), *pixels.shape[-2:], 2)
        jitter = 2 * torch.rand(shape, generator=generator, device=generator.device) - 1
        return _sampled(pixels, self._places(pixels) + jitter.to(pixels) / 32)

    def _places(self, pixels: Tensor) -> Tensor:
        """Where each pixel comes from, (1, H, W, 2) of (x, y), the image reaching from -1 to 1."""
        height, width = pixels.shape[-2:]
        generator = Seeds(seed=self.warp_seed).generator("wanet field")
        moves = 2 * torch.rand(1, 2, self.grid, self.grid, generator=generator) - 1
        field = F.interpolate(moves / moves.abs().mean(), (height, width), mode="bicubic", align_corners=True)
        still = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=True)
        return (still + self.strength / 32 * field.permute(0, 2, 3, 1)).clamp(-1, 1).to(pixels)


def _sampled(pixels: Tensor, places: Tensor) -> Tensor:
    places = places.clamp(-1, 1).expand(len(pixels), -1, -1, -1)
    return F.grid_sample(pixels, places, mode="bilinear", align_corners=True).clamp(0, 1)


METHOD = WaNet
