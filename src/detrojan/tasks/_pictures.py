"""What tasks share whose samples are images or clips: weak augmentation, and strong views."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detrojan.augmentation import bytes_of, crop_and_flip, pixels_of
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.tasks._classification import Classification
from detrojan.views import side_by_side, strong_view


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

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A strong view of each image or clip, as bytes; what changed in it has no name.

        Raises:
            Unsupported: they are no images or clips, grey or in three colours, of bytes or of pixels in [0, 1].
        """
        del signs
        return bytes_of(strong_view(_coloured(inputs), generator)), None

    def join(self, first: Tensor, second: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two weakly changed images or clips side by side, as bytes, and the share of the first.

        Raises:
            Unsupported: as in `view`.
        """
        halves = [self.augment(_as_bytes(each), generator) for each in (first, second)]
        return side_by_side(halves[0], halves[1], generator)


def _as_bytes(inputs: Tensor) -> Tensor:
    if inputs.dtype != torch.uint8:
        return bytes_of(_coloured(inputs))
    _coloured(inputs[:1])
    return inputs


def _coloured(inputs: Tensor) -> Tensor:
    pixels = pixels_of(inputs)
    if not (pixels.is_floating_point() and pixels.ndim in (4, 5) and pixels.shape[1] in (1, 3)):
        raise Unsupported(f"strong views are made of grey or coloured images and clips, not of {tuple(inputs.shape)}")
    if pixels.numel() and (pixels.amin() < 0 or pixels.amax() > 1):
        raise Unsupported("strong views are made of bytes or of pixels in [0, 1]")
    return pixels
