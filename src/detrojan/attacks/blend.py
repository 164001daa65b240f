"""Blend: one fixed picture mixed into the whole image. Source: Chen et al., "Targeted Backdoor Attacks" (2017)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.randomness import Seeds
from detrojan.triggers import Trigger

Picture = Literal["noise", "face"]


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
        picture = self._noise() if self.picture == "noise" else _face()
        if picture.shape[-2:] != pixels.shape[-2:]:
            picture = F.interpolate(picture[None], pixels.shape[-2:], mode="bilinear", align_corners=False)[0]
        if pixels.shape[1] == 1:
            picture = picture.mean(0, keepdim=True)
        return torch.lerp(pixels, picture.to(pixels), self.alpha)

    def _noise(self) -> Tensor:
        generator = Seeds(seed=self.picture_seed).generator("blend picture")
        return torch.randint(0, 256, (3, 32, 32), generator=generator).float() / 255


def _face() -> Tensor:
    """A white cat-like face with ears, eyes, whiskers and a red bow on a blue ground, (3, 32, 32) in [0, 1]."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")

    def disc(row: float, column: float, height: float, width: float) -> Tensor:
        return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1

    picture = torch.tensor([0.35, 0.55, 0.9])[:, None, None].expand(3, 32, 32).clone()
    ears = disc(8, 7, 6, 4) | disc(8, 24, 6, 4)
    whiskers = ((rows == 19) | (rows == 22)) & ((columns < 8) | (columns > 23))
    layers = (
        (ears | disc(19, 15.5, 11, 14), (1.0, 1.0, 1.0)),
        (disc(18, 9, 2.2, 1.4) | disc(18, 22, 2.2, 1.4) | whiskers, (0.0, 0.0, 0.0)),
        (disc(22, 15.5, 1.2, 1.8), (1.0, 0.85, 0.1)),
        (disc(8, 20, 3, 3) | disc(8, 27, 3, 3), (0.9, 0.1, 0.2)),
    )
    for where, colour in layers:
        picture[:, where] = torch.tensor(colour)[:, None]
    return picture


METHOD = Blend
