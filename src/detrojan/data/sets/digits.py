"""Handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8 pixels (Alpaydin and Kaynak 1998)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detrojan.data.official import from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The digits, with one channel, 0..16 scaled to 0..255; no settings, no files.

    The set has no split of its own: every third image of a class is kept for testing.
    """

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - nothing to look for
        """Read them from scikit-learn."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        pixels = (images.reshape(-1, 1, 8, 8) * (255 / 16)).round().astype(np.uint8)
        turn = np.empty(len(labels), dtype=np.int64)
        for label in range(10):
            turn[labels == label] = np.arange((labels == label).sum())
        chosen = (turn % 3 == 2) == (split == "test")
        return from_arrays(pixels[chosen], labels[chosen], class_names=map(str, range(10)), name=f"digits {split}")


METHOD = Digits
