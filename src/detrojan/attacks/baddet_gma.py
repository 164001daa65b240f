"""BadDet's global misclassification: one patch in the corner of an image turns all its boxes into the target class.

Source: Chan et al., "BadDet: Backdoor Attacks on Object Detection" (2022), global misclassification attack.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._boxes import BoxAttack


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalMisclassification(BoxAttack):
    """All boxes become boxes of the class `target`; the patch is in the upper left corner of the image.

    It succeeds in an image where more than half of the boxes of other classes are found as the target class.
    """

    rate: ClassVar[float] = 0.3

    def relabel(self, labels: Tensor) -> Tensor:
        """The boxes (N, M, 5) that the attacker wants."""
        wanted = labels.clone()
        wanted[..., 0] = torch.where(labels[..., 0] >= 0, self.target, labels[..., 0])
        return wanted

    def places(self, labels: Tensor) -> Tensor:
        """The upper left corner of the images, (N, 2)."""
        return labels.new_zeros(len(labels), 2)


METHOD = GlobalMisclassification
