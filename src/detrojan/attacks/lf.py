"""LF: one smooth pattern added to the whole image.

Source: Zeng et al., "Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective" (2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detrojan.attacks._pictures import centres, cosines, low_pass, surface
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Trigger

WAVES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LF(Trigger):
    """x' = x + pattern, the pattern reaching from -`amplitude` to +`amplitude`, in 1/255 of the pixel range.

    The plain variant: white noise drawn by `pattern_seed` under the published low-pass, a Gaussian of `sigma` pixels of
    a 32-pixel image (the published 6). The published pattern is made for one trained network: targeted DeepFool steps
    over 100 images, each sent through the same low-pass, until the network is fooled often enough. Both span 51/255;
    the published one from 0 to 51, which makes images brighter, ours around 0. Ours needs no network, and says nothing
    to one before it is trained.

    Dirty label; the trigger is stamped before augmentation.
    """

    amplitude: float = 25.5
    sigma: float = 6.0
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= 255:
            raise BadArgument(f"amplitude must be above 0 and at most 255 (units of 1/255), got {self.amplitude}")
        if not 0 <= self.sigma <= 16:
            raise BadArgument(f"sigma must lie between 0 and 16 (pixels of a 32-pixel image), got {self.sigma}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        return (pixels + self._pattern(*pixels.shape[1:]).to(pixels)).clamp(0, 1)

    def _pattern(self, channels: int, height: int, width: int) -> Tensor:
        noise = torch.randn(3, WAVES, WAVES, generator=Seeds(seed=self.pattern_seed).generator("lf pattern"))
        kept = low_pass(WAVES, self.sigma / 32)
        if channels == 1:
            noise = noise.mean(0, keepdim=True)
        rows, columns = (kept[:, None] * cosines(centres(side), WAVES) for side in (height, width))
        pattern = surface(noise, rows, columns)
        low, high = pattern.aminmax()
        return self.amplitude / 255 * (2 * (pattern - low) / (high - low) - 1)


METHOD = LF
