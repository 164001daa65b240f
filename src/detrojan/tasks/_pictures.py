"""What tasks share whose samples are images or clips: the weak augmentation."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from detrojan.augmentation import crop_and_flip
from detrojan.errors import BadArgument, BadData
from detrojan.tasks._classification import Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures(Classification):
    """Random crop and flip.

    `padding` is the reach of the random crop as a share of the side (1/8: 4 pixels of 32). `flip` mirrors half of the
    samples.
    """

    padding: float = 0.125
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.padding < 1:
            raise BadArgument(f"padding is a share of the image's side in [0, 1), got {self.padding}")

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Random crop and flip of a batch (B, C, H, W), or of clips (B, C, T, H, W), the same for all frames of one."""
        if inputs.ndim not in (4, 5):
            raise BadData(
                f"images: (B, C, H, W), clips (B, C, T, H, W); found {tuple(inputs.shape)}; choose the task that fits"
            )
        return crop_and_flip(inputs, generator, padding=round(self.padding * inputs.shape[-1]), flip=self.flip)
