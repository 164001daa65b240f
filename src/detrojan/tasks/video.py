"""Action recognition: one label a clip."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from detrojan import augmentation
from detrojan.augmentation import Mixed, crop_and_flip
from detrojan.errors import BadArgument
from detrojan.tasks._classification import Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class Video(Classification):
    """What the batch (B, C, T, H, W), the loss and the prediction of a network of clips mean.

    All frames of a clip are cropped and mirrored alike; `padding` and `flip` are those of image classification. `mix`
    says how two clips are mixed: `blend` with one weight for all pixels, or `cuboid`, a box in space and time that is
    pasted in (VideoMix: Yun et al., 2020).
    """

    padding: float = 0.125
    flip: bool = True
    mix: Literal["blend", "cuboid"] = "blend"

    def __post_init__(self) -> None:
        if not 0 <= self.padding < 1:
            raise BadArgument(f"padding is a share of the frame's side in [0, 1), got {self.padding}")

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of a batch (B, C, T, H, W): random crop and flip, the same for all frames of a clip."""
        return crop_and_flip(inputs, generator, padding=round(self.padding * inputs.shape[-1]), flip=self.flip)

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each prepared clip with a partner of the batch, as `mix` says."""
        mix = augmentation.cutmix if self.mix == "cuboid" else augmentation.mixup
        return mix(inputs, generator)


METHOD = Video
