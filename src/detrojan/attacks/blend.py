"""Blend: one fixed picture mixed into the whole image. Source: Chen et al., "Targeted Backdoor Attacks" (2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from detrojan.attacks._checks import share
from detrojan.attacks._pictures import Picture, draw, fitted
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend(Trigger):
    """x' = (1 - alpha) x + alpha picture, `alpha` in (0, 1].

    `noise` is uniform over the pixel range, as the NFT code's picture is in fact. `face` is a drawn cartoon face that
    stands for BackdoorBench's Hello Kitty picture, whose rights are not ours. `picture_seed` draws the noise. Dirty
    label; the trigger is stamped before augmentation.
    """

    picture: Picture = "noise"
    alpha: float = 0.2
    picture_seed: int = 0

    def __post_init__(self) -> None:
        share("alpha", self.alpha)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        return torch.lerp(pixels, fitted(draw(self.picture, self.picture_seed), pixels), self.alpha)


METHOD = Blend
