"""Action recognition: one label a clip."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detrojan import augmentation
from detrojan.augmentation import Mixed
from detrojan.tasks._pictures import Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Video(Pictures):
    """What the batch (B, C, T, H, W), the loss and the prediction of a network of clips mean.

    All frames of a clip are cropped and mirrored alike; `padding` and `flip` are those of image classification. `mix`
    says how two clips are mixed: `blend` with one weight for all pixels, or `cuboid`, a box in space and time that is
    pasted in (VideoMix: Yun et al., 2020).
    """

    mix: Literal["blend", "cuboid"] = "blend"

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each prepared clip with a partner of the batch, as `mix` says."""
        mix = augmentation.cutmix if self.mix == "cuboid" else augmentation.mixup
        return mix(inputs, generator)


METHOD = Video
