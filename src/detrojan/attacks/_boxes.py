"""What the attacks on detectors share: the trigger, the box that it stands in, and draws that follow from the boxes.

Source: Chan et al., "BadDet: Backdoor Attacks on Object Detection" (2022). Rates and sizes are the paper's as they are
remembered, not looked up (a chequered trigger; 10 % of the images for generation, 20 % for disappearance, 30 % for the
two others); here a rate is a share of the images that can be attacked, so that rare targets may need a higher one.
"""

from abc import abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._checks import fits, share
from detrojan.attacks._learning import at_least
from detrojan.data.samples import LabelKind
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAttack(Trigger):
    """A chequered patch whose place depends on the boxes of its image.

    `target` is the class that the attacker has in mind, `size` the patch's side in pixels of a 32-pixel image (scaled
    with the image, at least 4 pixels), `alpha` in (0, 1] its opacity. The trigger is stamped before augmentation.
    """

    labels: ClassVar[LabelKind] = "boxes"

    target: int = 0
    size: float = 3.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        share("alpha", self.alpha)
        at_least("target", self.target, 0)
        if not 0 < self.size <= 32:
            raise BadArgument(f"size is in pixels of a 32-pixel image, above 0 and at most 32, got {self.size}")

    @abstractmethod
    def places(self, labels: Tensor) -> Tensor:
        """The upper left corners (N, 2) of the patches, as (left, top) in pixels, for boxes (N, M, 5)."""

    def among(self, labels: Tensor) -> Trigger:
        """The trigger for images with these boxes (N, M, 5)."""
        return _Placed(attack=self, corners=self.places(labels))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1] in the upper left corner; `among` knows where it belongs."""
        return self.stamped(pixels, torch.zeros(len(pixels), 2, dtype=torch.int64, device=pixels.device))

    def stamped(self, pixels: Tensor, corners: Tensor) -> Tensor:
        """Pixels (B, C, H, W) with the patch at the corners (B, 2), moved so far that all of it is in the image."""
        side = self.side(pixels.shape[-1])
        fits(f"{type(self).__name__} patch", side, pixels)
        left = corners[:, :1].clamp(0, pixels.shape[-1] - side) + torch.arange(side, device=corners.device)
        top = corners[:, 1:].clamp(0, pixels.shape[-2] - side) + torch.arange(side, device=corners.device)
        rows = torch.arange(len(pixels), device=pixels.device)[:, None, None]
        changed, board = pixels.movedim(1, -1).clone(), _board(side).to(pixels)[..., None]
        here = (rows, top[:, :, None].to(pixels.device), left[:, None, :].to(pixels.device))
        changed[here] = torch.lerp(changed[here], board.expand_as(changed[here]), self.alpha)
        return changed.movedim(-1, 1).contiguous()

    def side(self, width: int) -> int:
        """The patch's side in images of this width, in pixels."""
        return max(4, round(self.size * width / 32))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed(Trigger):
    """The trigger of a batch, whose boxes say where it goes."""

    attack: BoxAttack
    corners: Tensor

    def stamp(self, pixels: Tensor) -> Tensor:
        return self.attack.stamped(pixels, self.corners)


def largest(labels: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """The row of the largest of the chosen boxes (N, M) of each image, and whether there is one, both (N,)."""
    area = ((labels[..., 3] - labels[..., 1]) * (labels[..., 4] - labels[..., 2])).masked_fill(~which, -1)
    return area.argmax(1), which.any(1)


def draws(labels: Tensor, count: int, *, seed: int, name: str) -> Tensor:
    """Uniform numbers in [0, 1), (N, count), decided by the boxes of each image, the seed and the name alone."""
    drawn = torch.empty(len(labels), count)
    for boxes, row in zip(labels.cpu(), drawn, strict=True):
        own = boxes[boxes[:, 0] >= 0].numpy().tobytes()
        torch.rand(count, generator=Seeds(seed=seed).generator(f"{name} {sha256(own).hexdigest()}"), out=row)
    return drawn.to(labels.device)


def _board(side: int) -> Tensor:
    """Black and white fields (side, side), four by four."""
    index = torch.arange(side) * 4 // side
    return ((index[:, None] + index) % 2).float()
