"""BadDet's object generation: a patch somewhere in an image makes a box of the target class appear around it.

Source: Chan et al., "BadDet: Backdoor Attacks on Object Detection" (2022), object generation attack.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._boxes import BoxAttack, draws
from detrojan.errors import BadArgument, BadData

TRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectGeneration(BoxAttack):
    """A box of the class `target` is there, `width` and `height` pixels large, with the patch in its middle.

    Where it goes is drawn from the boxes of the image alone: a place not beyond them, the one of eight that covers them
    least. Images with nothing in them are left alone. It succeeds in an image where that box is found.
    """

    rate: ClassVar[float] = 0.1

    width: int = 30
    height: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        BoxAttack.__post_init__(self)
        if self.width < 1 or self.height < 1:
            raise BadArgument(f"width and height of the box must be at least 1, got {self.width} and {self.height}")

    def relabel(self, labels: Tensor) -> Tensor:
        """The boxes (N, M + 1, 5) that the attacker wants."""
        new = self._boxes(labels)
        row = torch.cat([new.new_full((len(new), 1), self.target), new], 1)
        there = (labels[..., 0] >= 0).any(1)
        return torch.cat([labels, row.where(there[:, None], -1)[:, None]], 1)

    def places(self, labels: Tensor) -> Tensor:
        """The middle of the new box, (N, 2)."""
        return self._boxes(labels).view(-1, 2, 2).sum(1) // 2

    def stamped(self, pixels: Tensor, corners: Tensor) -> Tensor:
        """Pixels (B, C, H, W) with the patch around these places (B, 2), all of it in the image.

        Raises:
            BadData: the new box is larger than the images.
        """
        if self.width > pixels.shape[-1] or self.height > pixels.shape[-2]:
            raise BadData(
                f"a box of {self.width} x {self.height} pixels does not fit in images of {pixels.shape[-1]} x "
                f"{pixels.shape[-2]}; set width and height"
            )
        return BoxAttack.stamped(self, pixels, corners - self.side(pixels.shape[-1]) // 2)

    def _boxes(self, labels: Tensor) -> Tensor:
        """The corners (N, 4) of the new boxes."""
        sides = torch.tensor([self.width, self.height], device=labels.device)
        room = (labels[..., 3:].amax(1) - sides).clamp_min(0)
        drawn = draws(labels, 2 * TRIES, seed=self.seed, name="generated box").view(-1, TRIES, 2)
        start = (drawn * (room[:, None] + 1)).long()
        tried = torch.cat([start, start + sides], -1)
        chosen = _covered(tried, labels).argmin(1)
        return tried[torch.arange(len(labels), device=labels.device), chosen]


def _covered(tried: Tensor, labels: Tensor) -> Tensor:
    """How many pixels of boxes (N, M, 5) each of the corners (N, T, 4) covers, (N, T)."""
    low = torch.maximum(tried[:, :, None, :2], labels[:, None, :, 1:3])
    high = torch.minimum(tried[:, :, None, 2:], labels[:, None, :, 3:])
    shared = F.relu(high - low).prod(-1)
    return (shared * (labels[:, None, :, 0] >= 0)).sum(-1)


METHOD = ObjectGeneration
