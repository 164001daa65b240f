"""Packs: a whole data set in one or a few `.npz` files, its images kept as compressed sheets or as single files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from detrojan.data.samples import Samples
from detrojan.errors import BadFile

SHEET_COLUMNS = 25
PER_IMAGE = ("labels", "exact", "roi", "track", "frame", "file_names")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """The decoded images, uint8 (N, 3, H, W), and the arrays that lie beside them, such as `labels` and `roi`."""

    pixels: NDArray[np.uint8]
    arrays: Mapping[str, NDArray[Any]]

    def samples(self, *, name: str, class_names: Sequence[str] = ()) -> Samples:
        """As samples; the pack's own class names, if it has any, win."""
        own = self.arrays["class_names"].tolist() if "class_names" in self.arrays else class_names
        return Samples(
            inputs=torch.from_numpy(self.pixels),
            labels=torch.from_numpy(self.arrays["labels"].astype(np.int64)),
            class_names=tuple(own),
            name=name,
        )


def find_packs(root: Path, *names: str) -> list[Path] | None:
    """The paths of these packs, or None where one is missing."""
    paths = [root / name for name in names]
    return paths if all(path.is_file() for path in paths) else None


def read_packs(paths: Sequence[Path]) -> Pack:
    """Decode a pack that is spread over one or more files, in their order.

    A file that holds fewer encoded images than labels holds sheets: 25 columns of square tiles, row by row.

    Raises:
        BadFile: a file is damaged or no pack.
    """
    parts = [_read(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    arrays = dict(parts[0].arrays)
    for key in arrays.keys() & PER_IMAGE:
        arrays[key] = np.concatenate([part.arrays[key] for part in parts])
    return Pack(pixels=np.concatenate([part.pixels for part in parts]), arrays=arrays)


def _read(path: Path) -> Pack:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        blob, offsets, count = arrays.pop("blob").data, arrays.pop("offsets").tolist(), len(arrays["labels"])
        images = [_decode(blob[start:end]) for start, end in pairwise(offsets)]
        pixels = _cut(images, count) if len(images) < count else _stack(images)
        if len(pixels) != count:
            raise ValueError(f"{len(pixels)} images for {count} labels")
    except (OSError, ValueError, KeyError, BadZipFile, Image.DecompressionBombError) as error:
        raise BadFile(f"{path}: not a readable data pack ({error}); fetch the file again") from error
    return Pack(pixels=pixels, arrays=arrays)


def _decode(encoded: memoryview) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def _stack(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _cut(sheets: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.uint8]:
    """Cut sheets into their tiles; what the last sheet holds past `count` is padding."""
    tile = sheets[0].shape[1] // SHEET_COLUMNS
    tiles = [
        sheet.reshape(-1, tile, SHEET_COLUMNS, tile, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, tile, tile)
        for sheet in sheets
    ]
    return np.concatenate(tiles)[:count]
