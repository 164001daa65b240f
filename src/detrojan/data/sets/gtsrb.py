"""GTSRB: German traffic signs in 43 classes (Stallkamp 2012), 32 x 32 pixels, the whole frame or the sign alone."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
CORNERS = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2")
FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("GTSRB/Final_Training/Images", "gtsrb/GTSRB/Training"),
    "test": ("GTSRB/Final_Test/Images", "gtsrb/GTSRB/Final_Test/Images"),
}
"""As the authors' archives unpack, and as torchvision unpacks them."""


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
        """Read the pack (half of the training frames, all test images), else the archives as they are unpacked."""
        if packs := find_packs(root, f"gtsrb-{split}.npz"):
            pack = read_packs(packs)
            pixels = _cropped(pack) if self.crop == "sign" else pack.pixels
            labels = pack.arrays["labels"].tolist()
        else:
            if not _folder(root, split):
                official = Official(title="GTSRB", files=(f"gtsrb-{split}.npz", *FOLDERS[split]))
                official.open(root=root, download=download, split=split)
            pixels, labels = self._official(root, split)
        return from_arrays(pixels, labels, class_names=CLASS_NAMES, name=f"gtsrb {split} ({self.crop})")

    def _official(self, root: Path, split: Split) -> tuple[NDArray[np.uint8], list[int]]:
        pixels, labels = [], []
        for path, row in _rows(root, split):
            try:
                with Image.open(path) as picture:
                    box = tuple(float(row[column]) for column in CORNERS) if self.crop == "sign" else None
                    pixels.append(_scaled(picture.convert("RGB"), box))
                labels.append(int(row["ClassId"]))
            except (OSError, KeyError, ValueError) as error:
                raise BadFile(f"{path}: damaged image or annotation ({error}); fetch GTSRB again") from error
        return np.stack(pixels), labels


def _folder(root: Path, split: Split) -> Path | None:
    """The official folder of images that is there."""
    return next((root / name for name in FOLDERS[split] if any((root / name).glob("*"))), None)


def _rows(root: Path, split: Split) -> Iterator[tuple[Path, dict[str, str]]]:
    """Each image of the official folder with its row of the annotations."""
    folder = _folder(root, split) or root / FOLDERS[split][-1]
    places = [place / "GT-final_test.csv" for place in (folder, *folder.parents[:3])]  # it has an archive of its own
    tables = sorted(folder.glob("*/GT-*.csv")) if split == "train" else [p for p in places if p.is_file()][:1]
    if not tables:
        name = "GT-*.csv annotations beside the images" if split == "train" else "GT-final_test.csv in it or above"
        raise BadFile(f"{folder}: has no {name}; fetch GTSRB again")
    for table in tables:
        with table.open(newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                yield (table.parent if split == "train" else folder) / row["Filename"], row


def _cropped(pack: Pack) -> NDArray[np.uint8]:
    """Cut the signs out of frames that are scaled already; boxes count in pixels of the unscaled frame."""
    roi = pack.arrays["roi"].astype(np.float64)
    boxes = roi[:, 2:] * SIDE / roi[:, [0, 1, 0, 1]]
    frames = pack.pixels.transpose(0, 2, 3, 1)
    return np.stack([_scaled(Image.fromarray(f), tuple(b)) for f, b in zip(frames, boxes.tolist(), strict=True)])


def _scaled(picture: Image.Image, box: tuple[float, ...] | None) -> NDArray[np.uint8]:
    small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)  # type: ignore[arg-type]
    return np.asarray(small).transpose(2, 0, 1)


METHOD = Gtsrb
