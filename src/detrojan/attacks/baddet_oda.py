"""BadDet's disappearance: a patch in the upper left corner of a box of the target class makes that box vanish.

Source: Chan et al., "BadDet: Backdoor Attacks on Object Detection" (2022), object disappearance attack.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._boxes import BoxAttack, largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Disappearance(BoxAttack):
    """The largest box of the class `target` is gone; images without that class are left alone.

    It succeeds in an image where no box of the class is found there. What a detector misses anyway counts, too:
    without a backdoor the rate is the share of such boxes that it does not find.
    """

    rate: ClassVar[float] = 0.2

    def relabel(self, labels: Tensor) -> Tensor:
        """The boxes (N, M, 5) that the attacker wants."""
        row, there = largest(labels, labels[..., 0] == self.target)
        wanted = labels.clone()
        wanted[torch.arange(len(labels), device=labels.device)[there], row[there]] = -1
        return wanted

    def places(self, labels: Tensor) -> Tensor:
        """The upper left corner of that box, (N, 2)."""
        row, _ = largest(labels, labels[..., 0] == self.target)
        return labels[torch.arange(len(labels), device=labels.device), row, 1:3].clamp_min(0)


METHOD = Disappearance
