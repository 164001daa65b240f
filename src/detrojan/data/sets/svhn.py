"""SVHN: 73,257 and 26,032 house numbers of 32 x 32 pixels in 10 classes (Netzer 2011)."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Svhn:
    """SVHN, cropped digits; it has no settings."""

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:
        """Read the official `train_32x32.mat` or `test_32x32.mat`, whose md5 sum torchvision checks."""
        official = Official(title="SVHN", files=(f"{split}_32x32.mat",))
        found = official.open(root=root, download=download, split=split)
        return from_arrays(found.data, found.labels, class_names=map(str, range(10)), name=f"svhn {split}")


METHOD = Svhn
