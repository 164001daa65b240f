"""ImageNet (ILSVRC 2012): 1,281,167 and 50,000 photographs in 1,000 classes (Russakovsky 2015), all or some of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detrojan.data.decoded import decoded
from detrojan.data.images import Decoder
from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadData, BadFile

FOLDERS = ("imagenet", "ILSVRC2012")
PARTS: dict[Split, str] = {"train": "train", "test": "val"}
DEVKIT = "ILSVRC2012_devkit_t12/data"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KEPT = 0.875
"""The part of the shorter side that the middle square has: 224 of 256 pixels, as is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNet:
    """ImageNet; the shorter side is scaled to 8/7 of `size` pixels, and the middle square of `size` is kept.

    The folder `imagenet` or `ILSVRC2012` holds `train/nXXXXXXXX/*.JPEG` and `val`, which is sorted in the same way or
    flat as in the archive; a flat one needs the folder `ILSVRC2012_devkit_t12` beside it. Where folders of classes are
    missing, the others are numbered in their order. `test` is the validation part, since the labels of the true test
    part are not public.

    `per_class` takes the first so many images of each class, in the order of their names; None takes all, which is
    193 GB of training images at 224 pixels. Training images come by their place in their class, then by class, so that
    the first ones are of all classes; validation images come in the official order.
    """

    size: int = 224
    per_class: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("per_class", self.per_class)):
            if not (name == "per_class" and value is None) and (not isinstance(value, int) or value < 1):
                raise BadArgument(f"imagenet: {name} must be a number of at least 1, got {value!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read and decode the images, on all cores."""
        folder = next((root / name for name in FOLDERS if (root / name).is_dir()), None)
        if folder is None:
            raise Official(title="ImageNet", files=FOLDERS).missing(root, "torchvision does not download it")
        part = folder / PARTS[split]
        if not part.is_dir():
            raise BadData(
                f"{part}: no such folder; unpack ILSVRC2012_img_{part.name}.tar there, or set another root than {root}"
            )
        wnids, words = _classes(folder)
        ranked = _validation(folder, wnids) if split == "test" else _by_class(part, wnids)
        found = [(path, label) for rank, label, path in ranked if self.per_class is None or rank < self.per_class]
        if not found:
            raise BadData(f"{part}: holds no .JPEG of a class; unpack ILSVRC2012_img_{part.name}.tar there")
        return from_arrays(
            self._decoded([path for path, _ in found]),
            [label for _, label in found],
            class_names=[words.get(wnid, wnid) for wnid in wnids],
            name=f"imagenet {split}" + (f" ({self.per_class} a class)" if self.per_class else ""),
        )

    def _decoded(self, paths: list[Path]) -> NDArray[np.uint8]:
        decoder = Decoder(size=round(self.size / KEPT))
        start = (round(self.size / KEPT) - self.size) // 2
        middle = slice(start, start + self.size)
        return decoded(
            paths,
            lambda path: decoder.decode(path, name=str(path))[:, middle, middle],
            (3, self.size, self.size),
            what="imagenet: images",
            fewer="imagenet:per_class=50 or imagenet:size=64",
        )


Ranked = list[tuple[int, int, Path]]
"""Images as (place in their class, label, path), in the order in which they are read."""


def _classes(folder: Path) -> tuple[list[str], Mapping[str, str]]:
    """The WordNet numbers of the classes, sorted, and the words for them, as far as they are known."""
    synsets = _synsets(folder)
    words = dict(synsets.values())
    for part in PARTS.values():
        found = [child.name for child in (folder / part).glob("n*") if child.name[1:].isdigit() and child.is_dir()]
        if found:
            return sorted(found), words or _categories(sorted(found))
    if not words:
        raise BadFile(
            f"{folder}: val is not sorted by class, and there is no {DEVKIT}/meta.mat; "
            "unpack ILSVRC2012_devkit_t12.tar.gz there"
        )
    return sorted(words), words


def _synsets(folder: Path) -> dict[int, tuple[str, str]]:
    """The devkit's classes: by ILSVRC number the WordNet number and the words; empty where there is no devkit."""
    path = folder / DEVKIT / "meta.mat"
    if not path.is_file():
        return {}
    from scipy.io import loadmat

    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        rows = [(row["ILSVRC2012_ID"], row["WNID"], row["words"]) for row in synsets if row["num_children"] == 0]
        return {int(number): (str(wnid), str(words)) for number, wnid, words in rows}
    except Exception as error:  # scipy answers damage with many types
        raise BadFile(f"{path}: not readable ({error}); unpack the development kit again") from error


def _categories(wnids: list[str]) -> Mapping[str, str]:
    """The names that torchvision's weights carry, in the order of the WordNet numbers, where all classes are there."""
    from torchvision.models import get_weight

    names: list[Any] = get_weight("ResNet18_Weights.IMAGENET1K_V1").meta["categories"]
    return dict(zip(wnids, names, strict=True)) if len(wnids) == len(names) else {}


def _by_class(part: Path, wnids: list[str]) -> Ranked:
    return sorted(
        (rank, label, path)
        for label, wnid in enumerate(wnids)
        for rank, path in enumerate(sorted((part / wnid).glob("*.JPEG")))
    )


def _validation(folder: Path, wnids: list[str]) -> Ranked:
    """In the order of the file names, which is the official one, whether they are sorted by class or not."""
    part = folder / PARTS["test"]
    flat = sorted(part.glob("*.JPEG"))
    if not flat:
        return sorted(_by_class(part, wnids), key=lambda row: row[2].name)
    label_of, ranks, rows = {wnid: label for label, wnid in enumerate(wnids)}, [0] * len(wnids), []
    synsets = _synsets(folder)
    try:
        truth = [synsets[int(line)][0] for line in (folder / DEVKIT / TRUTH).read_text().split()]
        named = [(path, truth[int(path.stem.rsplit("_", 1)[1]) - 1]) for path in flat]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise BadFile(
            f"{folder / DEVKIT / TRUTH}: does not tell the classes of the images in {part} ({error!r}); "
            "unpack ILSVRC2012_devkit_t12.tar.gz there, or sort the images into folders of their classes"
        ) from error
    for path, wnid in named:
        if (label := label_of.get(wnid)) is not None:
            rows.append((ranks[label], label, path))
            ranks[label] += 1
    return rows


METHOD = ImageNet
