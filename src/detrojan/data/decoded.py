"""Many pictures or videos decoded at once into one array, once it is sure that the machine's memory holds it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detrojan.errors import BadData

File = TypeVar("File")
MEMORY = 0.8
"""The share of the machine's memory that the samples of one set may fill."""


def decoded(
    files: Sequence[File], decode: Callable[[File], NDArray[np.uint8]], shape: tuple[int, ...], *, what: str, fewer: str
) -> NDArray[np.uint8]:
    """What `decode` makes of each file, uint8 (N, *shape), on all cores.

    Args:
        files: paths, or what else says where a file is, in the order of the result.
        decode: makes an array of `shape` from one.
        shape: of one sample.
        what: the samples' name in the message, such as `ucf101: videos`.
        fewer: how less is taken, for the message.

    Raises:
        BadData: they need more memory than the machine has; nothing is decoded then.
    """
    _check_memory(int(np.prod(shape)) * len(files), len(files), what, fewer)
    samples = np.empty((len(files), *shape), dtype=np.uint8)

    def place(index: int) -> None:
        samples[index] = decode(files[index])

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(place, range(len(files))):
            pass
    return samples


def _check_memory(wanted: int, count: int, what: str, fewer: str) -> None:
    """Refuse what the machine cannot hold, before it is read for an hour."""
    if not hasattr(os, "sysconf"):
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > MEMORY * there:
        raise BadData(
            f"{what}: {count:,} of them need {wanted / 1e9:.0f} GB of memory, and this machine has {there / 1e9:.0f}; "
            f"take fewer or smaller ones, such as {fewer}"
        )
