"""From a picture to pixels: one colour mode, one size, uint8 (C, H, W)."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData, BadFile

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """How pictures of any kind become arrays of one kind.

    `size` is the side of the square in pixels (None keeps each picture's own), `fit` how a picture gets there: `crop`
    scales the shorter side and cuts the middle out, `stretch` ignores the aspect. `channels` is 3 (RGB) or 1 (grey).
    """

    size: int | None = None
    fit: Literal["crop", "stretch"] = "crop"
    channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise BadArgument(f"size must be at least 1 pixel, got {self.size}")
        if self.fit not in ("crop", "stretch"):
            raise BadArgument(f"fit must be 'crop' or 'stretch', got {self.fit!r}")
        if self.channels not in (1, 3):
            raise BadArgument(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The pixels, uint8 (C, H, W)."""
        mode = "RGB" if self.channels == 3 else "L"
        plain = self._resize(_eight_bits(picture).convert(mode))
        pixels = np.asarray(plain)
        return pixels[None] if mode == "L" else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def decode(self, encoded: bytes | Path, *, name: str) -> NDArray[np.uint8]:
        """Open and decode a picture, given as a file or as the bytes of one.

        Raises:
            BadFile: it cannot be read as a picture; the sentence holds `name`.
        """
        try:
            with Image.open(encoded if isinstance(encoded, Path) else io.BytesIO(encoded)) as picture:
                return self(picture)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise BadFile(f"{name}: not a readable image ({error}); repair or remove it") from error

    def _resize(self, picture: Image.Image) -> Image.Image:
        if self.size is None or picture.size == (self.size, self.size):
            return picture
        if self.fit == "stretch":
            return picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BILINEAR)


def stack(pictures: list[NDArray[np.uint8]], names: Callable[[int], str]) -> torch.Tensor:
    """One tensor (N, C, H, W) of pictures that must agree in size; `names` gives the name of the picture at a place."""
    for index, picture in enumerate(pictures):
        if picture.shape != pictures[0].shape:
            first, other = (f"{shape[2]} x {shape[1]}" for shape in (pictures[0].shape, picture.shape))
            raise BadData(
                f"images must be of one size, but {names(0)} is {first} and {names(index)} is {other} pixels; "
                "give size= (--size), to which each is scaled and cropped"
            )
    return torch.from_numpy(np.stack(pictures))


def resized(samples: Samples, decoder: Decoder) -> Samples:
    """The same samples with uint8 images, or frames of clips, at the decoder's size; unchanged where they have it.

    Boxes are scaled with their images.

    Raises:
        BadData: the inputs are floats, whose range only the user knows; or images with boxes would be cut.
    """
    height, width = samples.inputs.shape[-2:]
    if decoder.size is None or height == width == decoder.size:
        return samples
    if samples.inputs.dtype != torch.uint8:
        raise BadData(f"{samples.name}: only uint8 images can be resized, found {samples.inputs.dtype}; leave size out")
    if samples.kind == "clips":
        frames = samples.inputs.transpose(1, 2)
        scaled = _scaled(frames.flatten(0, 1), decoder).unflatten(0, frames.shape[:2])
        return replace(samples, inputs=scaled.transpose(1, 2).contiguous())
    if samples.label_kind == "boxes":
        samples = replace(samples, labels=_scaled_boxes(samples, decoder))
    return replace(samples, inputs=_scaled(samples.inputs, decoder))


def _scaled_boxes(samples: Samples, decoder: Decoder) -> torch.Tensor:
    """The boxes (N, M, 5) of images that are scaled to the decoder's size, at least one pixel wide and high."""
    height, width = samples.inputs.shape[-2:]
    if height != width and decoder.fit == "crop":
        raise BadData(
            f"{samples.name}: images of {width} x {height} pixels would be cut to a square, and their boxes with them; "
            "give fit='stretch'"
        )
    size = int(decoder.size or 0)
    factors = torch.tensor([size / width, size / height] * 2, dtype=torch.float64)
    ends = (samples.labels[..., 1:] * factors).round().long().clamp(0, size)
    start = torch.minimum(ends[..., :2], ends[..., 2:] - 1).clamp_min(0)
    moved = torch.cat([samples.labels[..., :1], start, torch.maximum(ends[..., 2:], start + 1)], -1)
    return torch.where(samples.labels[..., :1] >= 0, moved, -1)


def _scaled(images: torch.Tensor, decoder: Decoder) -> torch.Tensor:
    """Images (N, C, H, W) of the decoder's size."""
    grey = images.shape[1] == 1
    same = replace(decoder, channels=1 if grey else 3)
    pixels = images.permute(0, 2, 3, 1).numpy()
    scaled = [same(Image.fromarray(image[..., 0] if grey else image)) for image in pixels]
    return torch.from_numpy(np.stack(scaled))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring 16-bit greyscale to 8 bits; Pillow would clip it to white."""
    if picture.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if not picture.mode.startswith("I"):
        return picture
    wide = np.asarray(picture).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise ValueError(f"its pixels lie in {wide.min()}..{wide.max()}, past 16 bits")
    return Image.fromarray((wide / 257).round().astype(np.uint8))
