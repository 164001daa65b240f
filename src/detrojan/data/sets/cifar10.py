"""CIFAR-10: 50,000 and 10,000 colour images of 32 x 32 pixels in 10 classes (Krizhevsky 2009), in canonical order."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.packs import find_packs, read_packs
from detrojan.data.samples import Samples
from detrojan.data.splits import Split

PACKS = {"train": ("cifar10-train-1.npz", "cifar10-train-2.npz"), "test": ("cifar10-test.npz",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar10:
    """CIFAR-10; it has no settings."""

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the packs, else the official batches, whose md5 sums torchvision checks before it opens them."""
        if packs := find_packs(root, *PACKS[split]):
            return read_packs(packs).samples(name=f"cifar10 {split}")
        official = Official(title="CIFAR10", files=(" and ".join(PACKS[split]), "cifar-10-batches-py"))
        found = official.open(root=root, download=download, train=split == "train")
        pixels = found.data.transpose(0, 3, 1, 2)
        return from_arrays(pixels, found.targets, class_names=found.classes, name=f"cifar10 {split}")


METHOD = Cifar10
