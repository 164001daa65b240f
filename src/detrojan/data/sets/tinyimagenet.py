"""Tiny ImageNet: 64 x 64 pixels, 500 and 50 images a class (Le and Yang 2015), all 200 classes or 20 of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detrojan.data.images import Decoder, stack
from detrojan.data.official import Official, from_arrays
from detrojan.data.packs import find_packs, read_packs
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

FOLDER = "tiny-imagenet-200"
PACKS = {"train": "tinyimagenet20-train.npz", "test": "tinyimagenet20-val.npz"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyImageNet:
    """Tiny ImageNet; `classes` is 200, or 20: the first 20 of every 8th class in the order of their WordNet numbers.

    `test` is the validation part, since the labels of the true test part are not public.
    """

    classes: int = 20

    def __post_init__(self) -> None:
        if self.classes not in (20, 200):
            raise BadArgument(f"tinyimagenet: classes must be 20 or 200, got {self.classes!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read the pack (20 classes only), else the official folder."""
        name = f"tinyimagenet {split} ({self.classes} classes)"
        if self.classes == 20 and (packs := find_packs(root, PACKS[split])):
            return read_packs(packs).samples(name=name)
        if not (root / FOLDER).is_dir():
            files = (PACKS[split], FOLDER) if self.classes == 20 else (FOLDER,)
            raise Official(title="Tiny ImageNet", files=files).missing(root, "torchvision does not download it")
        try:
            return self._official(root / FOLDER, split, name)
        except FileNotFoundError as error:
            raise BadFile(f"{error.filename}: missing, so {root / FOLDER} is incomplete; unpack it again") from error

    def _official(self, folder: Path, split: Split, name: str) -> Samples:
        wnids = sorted((folder / "wnids.txt").read_text().split())
        chosen = wnids if self.classes == 200 else wnids[::8][:20]
        found = _train(folder, chosen) if split == "train" else _validation(folder, chosen)
        decoder = Decoder()
        pixels = stack([decoder.decode(path, name=str(path)) for path, _ in found], lambda i: str(found[i][0]))
        words = dict(line.split("\t", 1) for line in (folder / "words.txt").read_text().splitlines())
        titles = [words[wnid].strip() for wnid in chosen]
        return from_arrays(pixels.numpy(), [label for _, label in found], class_names=titles, name=name)


def _train(folder: Path, wnids: Sequence[str]) -> list[tuple[Path, int]]:
    """By image number, then class, as in the pack."""
    found = [
        (int(path.stem.rsplit("_", 1)[1]), label, path)
        for label, wnid in enumerate(wnids)
        for path in (folder / "train" / wnid / "images").glob("*.JPEG")
    ]
    return [(path, label) for _, label, path in sorted(found)]


def _validation(folder: Path, wnids: Sequence[str]) -> list[tuple[Path, int]]:
    place = {wnid: label for label, wnid in enumerate(wnids)}
    lines = (folder / "val" / "val_annotations.txt").read_text().splitlines()
    rows = [line.split("\t")[:2] for line in lines]
    return [(folder / "val" / "images" / image, place[wnid]) for image, wnid in rows if wnid in place]


METHOD = TinyImageNet
