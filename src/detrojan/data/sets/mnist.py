"""MNIST: 60,000 and 10,000 grey images of 28 x 28 pixels, handwritten digits (LeCun 1998)."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Mnist:
    """MNIST, with one channel; it has no settings."""

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the official idx files, unpacked, under `MNIST/raw`."""
        official = Official(title="MNIST", files=("MNIST/raw",))
        found = official.open(root=root, download=download, train=split == "train")
        pixels = found.data[:, None].numpy()
        return from_arrays(pixels, found.targets, class_names=found.classes, name=f"mnist {split}")


METHOD = Mnist
