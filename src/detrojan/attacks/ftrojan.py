"""FTrojan: two frequencies of the colour channels.

Source: Wang et al., "An Invisible Black-Box Backdoor Attack Through Frequency Domain" (2022).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detrojan.attacks._pictures import centres, cosines, surface
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger

CR = torch.tensor([1.403, -0.714, 0.0])
CB = torch.tensor([0.0, -0.344, 1.773])


@dataclass(frozen=True, slots=True, kw_only=True)
class FTrojan(Trigger):
    """Adds `magnitude` to the DCT coefficients at `positions` of Cr and Cb, in windows of `window` x `window` pixels.

    The DCT is the orthonormal one of images in 0..255, so `magnitude` is in 1/255 of the pixel range; `positions` are
    (row, column) pairs from 0 to `window` - 1. Both transforms are linear: what comes back is the image plus a fixed
    pattern, which is what is added here, with saturation. BackdoorBench rounds to bytes after each colour conversion
    and lets them wrap; nothing is rounded here before the end. The published window of 32 pixels is kept at every image
    size; windows at the lower and right edges are cut off. A grey image gets the pattern as it is.

    Dirty label; the trigger is stamped before augmentation.
    """

    magnitude: float = 30.0
    positions: tuple[tuple[int, int], ...] = ((15, 15), (31, 31))
    window: int = 32

    def __post_init__(self) -> None:
        if not self.magnitude > 0:
            raise BadArgument(f"magnitude must be above 0 (units of 1/255), got {self.magnitude}")
        if self.window < 2:
            raise BadArgument(f"window must be at least 2 pixels, got {self.window}")
        if not self.positions or not all(0 <= index < self.window for pair in self.positions for index in pair):
            raise BadArgument(f"positions must be pairs from 0 to window - 1 = {self.window - 1}, got {self.positions}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        height, width = pixels.shape[-2:]
        waves = self._waves().repeat(-(-height // self.window), -(-width // self.window))[:height, :width]
        colours = (CR + CB)[:, None, None] if pixels.shape[1] == 3 else 1.0
        return (pixels + (colours * waves).to(pixels)).clamp(0, 1)

    def _waves(self) -> Tensor:
        """What the coefficients come to in one window, (window, window)."""
        coefficients = torch.zeros(self.window, self.window)
        for row, column in self.positions:
            coefficients[row, column] += self.magnitude / 255
        basis = cosines(centres(self.window), self.window) * (2 / self.window) ** 0.5
        basis[0] *= 0.5**0.5
        return surface(coefficients, basis, basis)


METHOD = FTrojan
