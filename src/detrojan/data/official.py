"""Data sets as their authors publish them, found on disk or downloaded by torchvision, which checks their md5 sums."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from detrojan.data.samples import Samples
from detrojan.errors import BadData, BadFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """One class of `torchvision.datasets`, and what it looks for under the root.

    Args:
        title: the class, such as `CIFAR10`.
        files: what the user may put under the root instead of downloading, best first; the last is torchvision's own.
    """

    title: str
    files: tuple[str, ...]

    def open(self, *, root: Path, download: bool, **settings: Any) -> Any:
        """The torchvision data set; nothing that the user has on disk is ever replaced by a download.

        Raises:
            BadFile: the files are there, but torchvision's check or reader refuses them.
            BadData: they are not there, and could or should not be downloaded.
        """
        from torchvision import datasets

        kind = getattr(datasets, self.title)
        if self._present(root):
            try:
                return kind(root, **settings)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                raise BadFile(
                    f"{root / self.files[-1]}: damaged or incomplete, torchvision's {self.title} refuses it ({error}); "
                    "remove it and fetch it again"
                ) from error
        if not download:
            raise self.missing(root, "download is off")
        try:
            return kind(root, download=True, **settings)
        except (RuntimeError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise self.missing(root, f"it could not be downloaded ({reason})") from error

    def missing(self, root: Path, reason: str) -> BadData:
        """The sentence that says what to put where."""
        return BadData(
            f"{self.title} is not under {root} and {reason}; put {' or '.join(self.files)} there, "
            "or name another folder with root= / --data-root or DETROJAN_DATA"
        )

    def _present(self, root: Path) -> bool:
        path = root / self.files[-1]
        return path.exists() and (path.is_file() or any(path.iterdir()))


def from_arrays(pixels: NDArray[np.uint8], labels: ArrayLike, *, class_names: Any, name: str) -> Samples:
    """Samples of uint8 (N, C, H, W) pixels and their labels."""
    return Samples(
        inputs=torch.from_numpy(np.ascontiguousarray(pixels)),
        labels=torch.from_numpy(np.asarray(labels, dtype=np.int64)),
        class_names=tuple(class_names),
        name=name,
    )
