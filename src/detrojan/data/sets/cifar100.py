"""CIFAR-100: 50,000 and 10,000 colour images of 32 x 32 pixels in 100 classes (Krizhevsky 2009)."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar100:
    """CIFAR-100 with its fine labels; it has no settings."""

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the official `cifar-100-python`, whose md5 sums torchvision checks before it opens its files."""
        official = Official(title="CIFAR100", files=("cifar-100-python",))
        found = official.open(root=root, download=download, train=split == "train")
        pixels = found.data.transpose(0, 3, 1, 2)
        return from_arrays(pixels, found.targets, class_names=found.classes, name=f"cifar100 {split}")


METHOD = Cifar100
