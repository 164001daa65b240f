"""BadNets: a small patch in the lower right corner. On clips, in every frame. Source: Gu et al., "BadNets" (2017)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from detrojan.attacks._checks import fits, share
from detrojan.attacks._learning import at_least
from detrojan.attacks._pictures import checker
from detrojan.data.samples import Kind
from detrojan.triggers import Trigger

Pattern = Literal["checker", "white"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadNets(Trigger):
    """A square patch whose side is `size` pixels of a 32-pixel image, scaled with the image, and at least 2.

    `checker` is the NFT code's pattern (0 0 1 / 0 1 0 / 1 0 1 in all channels), `white` is BackdoorBench's. `alpha` in
    (0, 1] is the patch's opacity (NFT: 0.6, BackdoorBench: 1). `margin` is the distance to the edges, in pixels of a
    32-pixel image. Dirty label; the trigger is stamped before augmentation.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("images", "clips")

    pattern: Pattern = "white"
    size: int = 3
    alpha: float = 1.0
    margin: int = 0

    def __post_init__(self) -> None:
        share("alpha", self.alpha)
        at_least("size", self.size, 1)
        at_least("margin", self.margin, 0)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) or (B, C, T, H, W) in [0, 1]; returns new pixels."""
        scale = pixels.shape[-1] / 32
        side, margin = max(2, round(self.size * scale)), round(self.margin * scale)
        fits("BadNets patch", side + margin, pixels)
        rows = slice(pixels.shape[-2] - margin - side, pixels.shape[-2] - margin)
        columns = slice(pixels.shape[-1] - margin - side, pixels.shape[-1] - margin)
        stamped = pixels.clone()
        stamped[..., rows, columns] = torch.lerp(pixels[..., rows, columns], self._patch(side).to(pixels), self.alpha)
        return stamped

    def _patch(self, side: int) -> Tensor:
        if self.pattern == "white":
            return torch.ones(side, side)
        return checker(side)


METHOD = BadNets
