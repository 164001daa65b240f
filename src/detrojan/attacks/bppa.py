"""BPPA: fewer colours are the trigger. Source: Wang et al., "BppAttack" (2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.errors import BadArgument
from detrojan.triggers import Trigger

TEMPERATURE = 0.1
DIFFUSION = (((0, 1), 7 / 16), ((1, -1), 3 / 16), ((1, 0), 5 / 16), ((1, 1), 1 / 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class BPPA(Trigger):
    """Every channel of every pixel is rounded to the nearest of 2^`bits` even levels, `bits` from 1 to 7.

    The default of 3 bits is the published code's 8 levels. `dithering` spreads the rounding error over the next pixels
    (Floyd and Steinberg, 1976); off in the published code's defaults.

    Dirty label. Who is poisoned is drawn anew in each epoch, with one negative for each: an image that keeps its label
    and gets the rounding error of another image, so that only errors that fit the image itself make the trigger. The
    rates are BackdoorBench's, .1 and .1; the authors' are .2 and .2. The published partner is any training image, ours
    one of the other negatives of the batch. The trigger comes before augmentation.

    `contrast` is the weight of a supervised contrastive loss on the batch's scores (0, the default of the published
    code, leaves it out; the paper contrasts features and makes its negatives by adversarial attack): images with the
    same label are pulled together, others pushed apart, so that negatives stay away from what carries the trigger.
    """

    redraws: ClassVar[bool] = True
    companions: ClassVar[float] = 1.0

    bits: int = 3
    dithering: bool = False
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 7:
            raise BadArgument(f"bits must lie between 1 and 7 (8 would change nothing), got {self.bits}")
        if not self.contrast >= 0:
            raise BadArgument(f"contrast must be 0 or above, got {self.contrast}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Quantise pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        levels = 2**self.bits - 1
        return (_dithered(pixels * levels, levels) if self.dithering else (pixels * levels).round()) / levels

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Add the quantisation error of another image of the batch; an image alone gets its own, mirrored."""
        del labels
        errors = self.stamp(pixels) - pixels
        if len(pixels) == 1:
            return (pixels + errors.flip(-1)).clamp(0, 1)
        shift = int(torch.randint(1, len(pixels), (1,), generator=generator, device=generator.device))
        return (pixels + errors.roll(shift, 0)).clamp(0, 1)

    def penalty(self, scores: Tensor, labels: Tensor) -> Tensor | None:
        """The contrastive term, where it is wanted."""
        return self.contrast * _contrastive(scores, labels) if self.contrast else None


def _contrastive(scores: Tensor, labels: Tensor) -> Tensor:
    """Supervised contrastive loss of the directions of scores (B, K) (Khosla et al., 2020)."""
    directions = F.normalize(scores)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logs = (directions @ directions.mT / TEMPERATURE).masked_fill(itself, -1e9).log_softmax(1)
    alike = (labels[:, None] == labels) & ~itself
    return -((logs * alike).sum(1) / alike.sum(1).clamp(min=1)).mean()


def _dithered(values: Tensor, levels: int) -> Tensor:
    """Round values (B, C, H, W) in [0, levels] in row order, each pixel's error handed on to the next ones.

    A pixel waits for its left, upper left, upper and upper right neighbours, so that the pixels with the same
    column + 2 row are independent and rounded at once.
    """
    height, width = values.shape[-2:]
    padded = F.pad(values, (1, 1, 0, 1))
    for front in range(width + 2 * (height - 1)):
        rows = torch.arange(max(0, (front - width + 2) // 2), min(height, front // 2 + 1), device=values.device)
        columns = front - 2 * rows + 1
        wanted = padded[..., rows, columns]
        rounded = wanted.round().clamp(0, levels)
        padded[..., rows, columns] = rounded
        for (down, right), share in DIFFUSION:
            padded[..., rows + down, columns + right] += share * (wanted - rounded)
    return padded[..., :height, 1:-1]


METHOD = BPPA
