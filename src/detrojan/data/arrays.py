"""NumPy archives: one `.npz` with an array of inputs and one of labels, under any of the usual names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from detrojan.data.packs import read_packs
from detrojan.data.samples import Samples
from detrojan.data.splits import SPELLINGS, Split
from detrojan.errors import BadData, BadFile

INPUTS = ("x", "images", "image", "inputs", "data", "arr_0")
LABELS = ("y", "labels", "label", "targets", "target", "arr_1")
CLASSES = ("class_names", "classes", "label_names")
IMAGE_CHANNELS = (1, 3)


def read_npz(path: Path, *, split: Split) -> Samples:
    """Read images and labels; keys such as `x_train` or `test_images` choose the split, plain ones serve for both.

    uint8 images may be NHWC, NCHW or NHW, told apart by where 1 or 3 channels stand (NHWC where both fit); clips are
    (N, C, T, H, W). Integers of two axes are the tokens of sentences. Floats are model inputs, kept as they are but for
    NHWC images, which become NCHW.

    Raises:
        BadFile: the archive is damaged or holds pickled objects, which are never opened.
        BadData: it has no pair of images and labels, or they are of no usable kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if {"blob", "offsets"} <= set(file.files):
                return read_packs([path]).samples(name=str(path))
            inputs, labels = (_key(path, file.files, names, split) for names in (INPUTS, LABELS))
            classes = [key for key in file.files if key.lower() in CLASSES]
            names = tuple(str(name) for name in file[classes[0]]) if classes else ()
            arrays = {"inputs": file[inputs], "labels": file[labels]}
    except (OSError, ValueError, BadZipFile, EOFError, AttributeError) as error:
        if isinstance(error, BadData | BadFile):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadFile(f"{path}: not a readable .npz archive ({reason}); save it with numpy.savez") from error
    return _samples(arrays, class_names=names, name=str(path))


def as_inputs(array: NDArray[Any], *, name: str) -> torch.Tensor:
    """Images as uint8 (N, C, H, W), clips (N, C, T, H, W), tokens as int64 (N, L), or float model inputs in fp32."""
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and array.ndim == 2:
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.size and not (array.min() >= 0 and array.max() <= 255):
            raise BadData(
                f"{name}: integer images must lie in 0..255, found {array.min()}..{array.max()}; "
                "scale them to uint8 or save floats"
            )
        array = array.astype(np.uint8)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        raise BadData(f"{name}: images must be uint8 or float, found {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(_channels_first(array, name=name)))


def as_labels(array: NDArray[Any], *, name: str) -> torch.Tensor:
    """Labels as int64 (N,); a second axis of length 1 is dropped."""
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.dtype.kind not in "iu" or flat.ndim != 1:
        raise BadData(
            f"{name}: labels must be integers of shape (N,), found {array.dtype} of shape {array.shape}; "
            "turn one-hot rows into class numbers with argmax(1)"
        )
    return torch.from_numpy(flat.astype(np.int64))


def _samples(arrays: Mapping[str, NDArray[Any]], *, class_names: tuple[str, ...], name: str) -> Samples:
    return Samples(
        inputs=as_inputs(arrays["inputs"], name=name),
        labels=as_labels(arrays["labels"], name=name),
        class_names=class_names,
        name=name,
    )


def _channels_first(array: NDArray[Any], *, name: str) -> NDArray[Any]:
    is_bytes = array.dtype == np.uint8
    if array.ndim == 3 and is_bytes:
        return array[:, None]
    last, second = (array.ndim == 4 and array.shape[axis] in IMAGE_CHANNELS for axis in (3, 1))
    if last and (is_bytes or not second):
        return array.transpose(0, 3, 1, 2)
    if is_bytes and not second and not (array.ndim == 5 and array.shape[1] in IMAGE_CHANNELS):
        raise BadData(
            f"{name}: uint8 images must be NHWC or NCHW and clips (N, C, T, H, W), with 1 or 3 channels, found shape "
            f"{array.shape}"
        )
    return array


def _key(path: Path, keys: list[str], names: tuple[str, ...], split: Split) -> str:
    lower = {key.lower(): key for key in keys}
    for spelling in SPELLINGS[split]:
        for name in names:
            for form in (f"{name}_{spelling}", f"{spelling}_{name}"):
                if form in lower:
                    return lower[form]
    for name in names:
        if name in lower:
            return lower[name]
    raise BadData(
        f"{path}: needs an array named {', '.join(names[:-1])} (or with _{split} behind), "
        f"found {', '.join(keys) or 'none'}"
    )
