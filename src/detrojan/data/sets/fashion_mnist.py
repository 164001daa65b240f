"""FashionMNIST: 60,000 and 10,000 grey images of 28 x 28 pixels, pieces of clothing (Xiao 2017)."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class FashionMnist:
    """FashionMNIST, with one channel; it has no settings."""

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the official idx files, unpacked, under `FashionMNIST/raw`."""
        official = Official(title="FashionMNIST", files=("FashionMNIST/raw",))
        found = official.open(root=root, download=download, train=split == "train")
        pixels = found.data[:, None].numpy()
        return from_arrays(pixels, found.targets, class_names=found.classes, name=f"fashion_mnist {split}")


METHOD = FashionMnist
