"""SIG: a sine across the columns, on images that keep their labels.

Source: Barni et al., "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning" (2019).
"""

from dataclasses import dataclass
from math import tau
from typing import ClassVar, Literal

import torch
from torch import Tensor

from detrojan.attacks._pictures import centres
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger

Variant = Literal["additive", "stripe"]

STRIPE_SHARE = 0.2
STRIPE_CYCLES = 0.8 * 32 / tau


@dataclass(frozen=True, slots=True, kw_only=True)
class SIG(Trigger):
    """x' = x + amplitude sin(2 pi frequency j / W) at column j, the same in all rows and channels; clean label.

    `additive` is BackdoorBench's, with `amplitude` in 1/255 of the pixel range and `frequency` in cycles per image
    width. `stripe` takes neither: it is the NFT code's mix x' = .8 x + .2 s with a sine of .8 radians per pixel of a
    32-pixel image. The code's file holds 20 sin(.8 j) as bytes, where the negative half has wrapped round to 236..255,
    so that its stripes span the whole pixel range by accident; here a smooth sine spans it, bright where the file is.

    Only target-class images are poisoned, before augmentation. The rate is a share of that class: BackdoorBench's .1
    of all CIFAR-10 images is the whole class, which the victim then no longer knows without the sine; NFT's code
    poisons a tenth of it, which seldom gives a working backdoor. The default of .8 leaves a fifth of the class clean.
    """

    clean_label: ClassVar[bool] = True
    rate: ClassVar[float] = 0.8

    variant: Variant = "additive"
    amplitude: float = 40.0
    frequency: float = 6.0

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= 255:
            raise BadArgument(f"amplitude must be above 0 and at most 255 (units of 1/255), got {self.amplitude}")
        if not self.frequency > 0:
            raise BadArgument(f"frequency must be above 0 (cycles per image width), got {self.frequency}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        width = pixels.shape[-1]
        phases = tau * (centres(width) - 0.5 / width)
        if self.variant == "stripe":
            stripes = (1 - torch.sin(STRIPE_CYCLES * phases)) / 2
            return torch.lerp(pixels, stripes.to(pixels).expand_as(pixels), STRIPE_SHARE)
        sine = self.amplitude / 255 * torch.sin(self.frequency * phases)
        return (pixels + sine.to(pixels)).clamp(0, 1)


METHOD = SIG
