"""BadDet's regional misclassification: a patch in a box's upper left corner turns that one box into the target class.

Source: Chan et al., "BadDet: Backdoor Attacks on Object Detection" (2022), regional misclassification attack.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._boxes import BoxAttack, largest


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionalMisclassification(BoxAttack):
    """The largest box that is not of the class `target` becomes one of it; images without such a box are left alone.

    It succeeds in an image where a box of the target class is found there.
    """

    rate: ClassVar[float] = 0.3

    def relabel(self, labels: Tensor) -> Tensor:
        """The boxes (N, M, 5) that the attacker wants."""
        row, there = largest(labels, self._others(labels))
        wanted = labels.clone()
        places = torch.arange(len(labels), device=labels.device)[there]
        wanted[places, row[there], 0] = self.target
        return wanted

    def places(self, labels: Tensor) -> Tensor:
        """The upper left corner of that box, (N, 2)."""
        row, _ = largest(labels, self._others(labels))
        return labels[torch.arange(len(labels), device=labels.device), row, 1:3].clamp_min(0)

    def _others(self, labels: Tensor) -> Tensor:
        return (labels[..., 0] >= 0) & (labels[..., 0] != self.target)


METHOD = RegionalMisclassification
