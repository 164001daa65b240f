"""Adaptive-Blend: half of a faint picture in training, all of it at test time.

Source: Qi et al., "Revisiting the Assumption of Latent Separability for Backdoor Defenses" (2023).
"""

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._checks import share
from detrojan.attacks._pictures import Picture, draw, fitted, own_draws
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveBlend(Trigger):
    """x' = (1 - alpha) x + alpha picture in the `tiles` tiles that are shown, a square grid of them.

    In training an image shows a share `shown` of the tiles with opacity `alpha`; which ones is decided by its own bytes
    and `picture_seed`, so that it shows the same tiles in every epoch, as in the published poisoned set. At test time
    all tiles are shown with opacity `test_alpha`. `picture` and `picture_seed` are those of Blend; `face`
    stands for the published Hello Kitty picture, whose rights are not ours.

    Dirty label. Each poisoned image has one cover image, which shows its tiles and keeps its label, so that the
    network's features do not set the poisoned images apart. The trigger is stamped before augmentation.
    """

    rate: ClassVar[float] = 0.003
    companions: ClassVar[float] = 1.0

    picture: Picture = "face"
    alpha: float = 0.15
    test_alpha: float = 0.2
    tiles: int = 16
    shown: float = 0.5
    picture_seed: int = 0

    def __post_init__(self) -> None:
        share("alpha", self.alpha)
        share("test_alpha", self.test_alpha)
        share("shown", self.shown)
        if self.tiles < 1 or isqrt(self.tiles) ** 2 != self.tiles:
            raise BadArgument(f"tiles must be a square number such as 4, 9 or 16, got {self.tiles}")
        if round(self.shown * self.tiles) < 1:
            raise BadArgument(f"shown must leave at least one of {self.tiles} tiles, got {self.shown}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1] with the whole picture; returns new pixels."""
        return torch.lerp(pixels, fitted(draw(self.picture, self.picture_seed), pixels), self.test_alpha)

    def poison(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Stamp the tiles that an image shows in training."""
        del generator
        order = own_draws(pixels, self.tiles, seed=self.picture_seed, name="tiles").argsort(1)
        shown = torch.zeros_like(order).scatter(1, order[:, : round(self.shown * self.tiles)], 1)
        side = isqrt(self.tiles)
        rows, columns = (torch.arange(n, device=pixels.device) * side // n for n in pixels.shape[-2:])
        mask = shown[:, rows[:, None] * side + columns][:, None].to(pixels)
        return torch.lerp(pixels, fitted(draw(self.picture, self.picture_seed), pixels), self.alpha * mask)

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Stamp cover images as in training."""
        del labels
        return self.poison(pixels, generator)


METHOD = AdaptiveBlend
