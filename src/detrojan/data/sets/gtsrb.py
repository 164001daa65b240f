"""GTSRB: German traffic signs in 43 classes (Stallkamp 2012), 32 x 32 pixels, the whole frame or cropped to the sign."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detrojan.data.official import Official, from_arrays
from detrojan.data.packs import Pack, find_packs, read_packs
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

SIDE = 32
CLASS_NAMES = tuple(str(number) for number in range(43))
ROI = ("Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gtsrb:
    """GTSRB; `crop` keeps the whole `frame` or cuts out the `sign` by its box; both are scaled to 32 x 32 (bilinear).

    Frames of one track are near-duplicates of each other, so a random part of the training images tells little about
    the rest of them; judge on the test images.
    """

    crop: Literal["frame", "sign"] = "frame"

    def __post_init__(self) -> None:
        if self.crop not in ("frame", "sign"):
            raise BadArgument(f"gtsrb: crop must be 'frame' or 'sign', got {self.crop!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the pack (half of the training frames, all test images), else the official folder `gtsrb`."""
        name = f"gtsrb {split} ({self.crop})"
        pack_name = f"gtsrb-{split}.npz"
        if packs := find_packs(root, pack_name):
            pack = read_packs(packs)
            pixels, labels = (_cropped(pack) if self.crop == "sign" else pack.pixels), pack.arrays["labels"]
        else:
            Official(title="GTSRB", files=(pack_name, "gtsrb")).open(root=root, download=download, split=split)
            pixels, labels = self._official(root / "gtsrb", split)
        return from_arrays(pixels, labels, class_names=CLASS_NAMES, name=name)

    def _official(self, folder: Path, split: Split) -> tuple[NDArray[np.uint8], list[int]]:
        pixels, labels = [], []
        for path, row in _rows(folder, split):
            box = _box(row, SIDE, self.crop, of=path)
            try:
                with Image.open(path) as picture:
                    pixels.append(_scaled(picture.convert("RGB"), box))
            except OSError as error:
                raise BadFile(f"{path}: not a readable image ({error}); fetch it again") from error
            labels.append(int(row["ClassId"]))
        return np.stack(pixels).transpose(0, 3, 1, 2), labels


METHOD = Gtsrb
