"""Whatever a user hands in as clean samples, checked and turned into one pair of tensors."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from detrojan.data.arrays import IMAGE_CHANNELS, as_inputs
from detrojan.data.load import load
from detrojan.data.samples import MEANT, LabelKind, Samples, padded
from detrojan.errors import BadArgument, BadData

LIMIT = 50_000
INPUT_KEYS = ("image", "img", "pixel_values", "inputs", "input", "x")
LABEL_KEYS = ("label", "labels", "target", "targets", "y")
AXES: dict[LabelKind, int] = {"class": 0, "tags": 1, "boxes": 2, "sentences": 1}
"""Of one sample's label."""


def gather(
    clean: Any, *, labels: LabelKind = "class", limit: int | None = None, name: str = "clean samples"
) -> Samples:
    """Turn clean samples of any common form into `Samples`, and check that they can serve.

    Args:
        clean: Samples; a pair (inputs, labels) of tensors or arrays; a torch Dataset of (x, y); a DataLoader or any
            iterable of such batches or items; a folder, file or data set name that `load` reads.
        labels: what a label is: a class; a row of tags (K,), each 0 or 1; boxes (M, 5); the tokens (T,) of a sentence.
            Boxes may come as torchvision's targets, too: a dictionary of boxes (n, 4) and labels (n,) from 1 for each
            image, in lists by batch or one by one.
        limit: how many samples are taken at most, 50,000 by default, so that an endless loader ends. Of a longer
            Dataset evenly spaced items are taken, of Samples and pairs of tensors all.
        name: what messages call them.

    Raises:
        BadData: no samples, no or unusable labels, inputs that are no tensors or differ in shape, NaN, one class only.
    """
    if limit is not None and limit < 1:
        raise BadArgument(f"limit must be at least 1, got {limit}")
    if isinstance(clean, Samples):
        return checked(clean, labels=labels)
    if isinstance(clean, str | Path):
        return checked(load(clean), labels=labels)
    if isinstance(clean, Tensor | np.ndarray):
        raise BadData(f"{name}: labels are missing; give a pair (inputs, labels)")
    if _is_pair(clean):
        clean = _of_torchvision(clean[0], clean[1], name) if labels == "boxes" else clean
        if AXES[labels] and np.ndim(clean[1]) != AXES[labels] + 1:
            raise BadData(f"{name}: labels must be {MEANT[labels]} a sample, found shape {tuple(np.shape(clean[1]))}")
        inputs = as_inputs(clean[0], name=name) if isinstance(clean[0], np.ndarray) else clean[0]
        return checked(_samples([(inputs, clean[1])], name, (), labels), labels=labels)
    if not isinstance(clean, Iterable | Dataset):
        raise BadData(
            f"{name}: must be Samples, (inputs, labels), a Dataset, a loader or a folder, got {type(clean).__name__}"
        )
    parts = list(_limited(_items(clean, limit or LIMIT), limit or LIMIT, name, labels))
    return checked(_samples(parts, name, _class_names(clean), labels), labels=labels)


def checked(samples: Samples, *, labels: LabelKind = "class") -> Samples:
    """The samples themselves, once it is sure that a defense can work with them.

    Raises:
        BadData: the first problem that was found.
    """
    if not len(samples):
        raise BadData(f"{samples.name}: there are none; give at least one clean sample of each class")
    if samples.label_kind != labels:
        wanted, found = MEANT[labels], MEANT[samples.label_kind]
        raise BadData(f"{samples.name}: labels must be {wanted} a sample, found {found}; choose the task that fits")
    if labels == "boxes":
        _check_boxes(samples)
    elif int(samples.labels.min()) < 0:
        lowest, place = int(samples.labels.min()), int((samples.labels < 0).nonzero()[0, 0])
        raise BadData(f"{samples.name}: labels must be 0 or above, found {lowest} at sample {place}")
    if samples.class_names and labels == "class" and int(samples.labels.max()) >= len(samples.class_names):
        highest, known = int(samples.labels.max()), len(samples.class_names)
        raise BadData(f"{samples.name}: label {highest} is past the {known} class names")
    if labels == "tags":
        _check_tags(samples)
    elif labels == "class" and bool((samples.labels == samples.labels[0]).all()):
        label = int(samples.labels[0])
        raise BadData(f"{samples.name}: all are of class {label}; at least two classes are needed to tune and to judge")
    shape = tuple(samples.inputs.shape)
    if samples.inputs.dtype == torch.uint8 and (len(shape) not in (4, 5) or shape[1] not in IMAGE_CHANNELS):
        raise BadData(
            f"{samples.name}: uint8 images must be (N, C, H, W) and clips (N, C, T, H, W), with 1 or 3 channels; found "
            f"shape {shape}"
        )
    if samples.inputs.is_floating_point() and not samples.inputs.isfinite().all():
        good = samples.inputs.flatten(1).isfinite().all(1) if samples.inputs.ndim > 1 else samples.inputs.isfinite()
        raise BadData(f"{samples.name}: inputs hold NaN or infinity, first in sample {int((~good).nonzero()[0])}")
    return samples


def _check_tags(samples: Samples) -> None:
    if int(samples.labels.max()) > 1:
        raise BadData(f"{samples.name}: tags must be 0 or 1, found {int(samples.labels.max())}")
    if samples.class_names and len(samples.class_names) != samples.labels.shape[1]:
        known, tags = len(samples.class_names), samples.labels.shape[1]
        raise BadData(f"{samples.name}: has {tags} tags a sample and {known} class names; they must be equally many")
    if bool((samples.labels == samples.labels[0]).all()):
        raise BadData(f"{samples.name}: all have the same tags; samples that differ are needed to tune and to judge")


def _check_boxes(samples: Samples) -> None:
    kept, edges = samples.labels[..., 0] >= 0, samples.labels[..., 1:]
    if not kept.any():
        raise BadData(f"{samples.name}: there is no box in any of them; give images in which something was marked")
    empty = kept & ((edges[..., 2] <= edges[..., 0]) | (edges[..., 3] <= edges[..., 1]) | (edges < 0).any(-1))
    if empty.any():
        place, box = empty.nonzero()[0].tolist()
        raise BadData(
            f"{samples.name}: a box is (class, left, top, right, bottom) in pixels with left < right and top < bottom, "
            f"found {samples.labels[place, box].tolist()} in sample {place}"
        )
    if samples.class_names and samples.num_classes <= int(samples.labels[..., 0].max()):
        highest = int(samples.labels[..., 0].max())
        raise BadData(f"{samples.name}: a box is of class {highest}, past the {len(samples.class_names)} class names")


def _is_pair(clean: Any) -> bool:
    """Whether this is (inputs, labels) rather than two batches."""
    return isinstance(clean, tuple | list) and len(clean) == 2 and isinstance(clean[0], Tensor | np.ndarray)


def _items(clean: Any, limit: int) -> Iterator[Any]:
    if isinstance(clean, Dataset) and not isinstance(clean, IterableDataset) and isinstance(clean, Sized):
        places = np.linspace(0, len(clean) - 1, min(limit, len(clean))).round().astype(int).tolist()
        return (clean[place] for place in places)
    return iter(clean)


def _limited(items: Iterator[Any], limit: int, name: str, meant: LabelKind) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, labels) until there are `limit` samples; items become batches of one."""
    taken = 0
    for position, item in enumerate(islice(items, limit)):
        inputs, labels = _batch(*_both(item, name), where=f"{name}, item {position}", meant=meant)
        yield inputs[: limit - taken], labels[: limit - taken]
        taken += len(labels)
        if taken >= limit:
            return


def _both(item: Any, name: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        inputs, labels = ([key for key in keys if key in item] for keys in (INPUT_KEYS, LABEL_KEYS))
        if inputs and labels:
            return item[inputs[0]], item[labels[0]]
        raise BadData(f"{name}: a mapping must hold 'image' and 'label', found {', '.join(map(str, item))}")
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, tuple | list):
        raise BadData(f"{name}: must come as pairs (inputs, labels), found {len(item)} values")
    raise BadData(f"{name}: labels are missing, found {type(item).__name__} alone; give pairs (inputs, labels)")


def _batch(inputs: Any, labels: Any, *, where: str, meant: LabelKind) -> tuple[Tensor, Tensor]:
    if meant == "boxes":
        inputs, labels = _of_torchvision(inputs, labels, where)
    inputs = torch.from_numpy(inputs) if isinstance(inputs, np.ndarray) else inputs
    if not isinstance(inputs, Tensor):
        hint = "; give the dataset a transform that ends in ToTensor()" if "Image" in type(inputs).__name__ else ""
        raise BadData(f"{where}: inputs must be tensors, found {type(inputs).__name__}{hint}")
    target = _integers(labels, where, meant)
    if target.ndim == AXES[meant]:
        inputs, target = inputs[None], target[None]
    if inputs.ndim == 0 or target.ndim != AXES[meant] + 1:
        raise BadData(f"{where}: labels must be {MEANT[meant]} a sample, found shape {tuple(target.shape)}")
    if len(inputs) != len(target):
        raise BadData(f"{where}: has {len(inputs)} inputs but {len(target)} labels; they must be equally many")
    return inputs.detach().cpu(), target


def _of_torchvision(inputs: Any, targets: Any, where: str) -> tuple[Any, Any]:
    """What torchvision's detectors learn from, as stacked images and rows of boxes; all else as it is."""
    if isinstance(targets, Mapping):
        return inputs, _rows(targets, where)
    if isinstance(targets, tuple | list) and targets and all(isinstance(each, Mapping) for each in targets):
        if isinstance(inputs, tuple | list):
            shapes = {tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in inputs}
            if len(shapes) > 1 or not isinstance(inputs[0], Tensor):
                found = " and ".join(map(str, sorted(shapes, key=str)))
                raise BadData(
                    f"{where}: inputs must be tensors of one size, found {found}; resize them with their boxes"
                )
            inputs = torch.stack(list(inputs))
        return inputs, padded([_rows(each, where) for each in targets])
    return inputs, targets


def _rows(target: Mapping[str, Any], where: str) -> Tensor:
    """Rows (n, 5) of one image's target, whose classes count from 1."""
    if "boxes" not in target or "labels" not in target:
        raise BadData(
            f"{where}: a target must hold 'boxes' and 'labels', found {', '.join(map(str, target)) or 'none'}"
        )
    corners, classes = (torch.as_tensor(target[key]).detach().cpu() for key in ("boxes", "labels"))
    if classes.ndim != 1 or corners.numel() != 4 * len(classes):
        shapes = f"{tuple(corners.shape)} and {tuple(classes.shape)}"
        raise BadData(f"{where}: boxes must be (n, 4) and their labels (n,), found {shapes}")
    if len(classes) and int(classes.min()) < 1:
        raise BadData(
            f"{where}: torchvision counts classes from 1, since 0 is the background, found {int(classes.min())}; count "
            "from 1, or give rows (class, left, top, right, bottom) with classes from 0"
        )
    return torch.cat([classes.long()[:, None] - 1, corners.view(-1, 4).round().long()], 1)


def _integers(labels: Any, where: str, meant: LabelKind) -> Tensor:
    if labels is None:
        raise BadData(f"{where}: the label is missing, found None; give pairs (inputs, labels)")
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadData(f"{where}: labels must be class numbers, found {type(labels).__name__}") from error
    if meant == "tags" and ((found == 0) | (found == 1)).all():
        return found.detach().cpu().long()
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise BadData(f"{where}: labels must be integers, found {str(found.dtype).removeprefix('torch.')}")
    return found.detach().cpu().long()


def _samples(parts: list[tuple[Any, Any]], name: str, class_names: tuple[str, ...], meant: LabelKind) -> Samples:
    if not parts:
        raise BadData(f"{name}: there are none; give at least one clean sample of each class")
    batches = [_batch(*part, where=name, meant=meant) for part in parts]
    first = batches[0][0]
    for inputs, _ in batches:
        if inputs.shape[1:] != first.shape[1:] or inputs.dtype != first.dtype:
            raise BadData(
                f"{name}: inputs must agree in shape and type, found {_kind(first)} and {_kind(inputs)}; "
                "bring them to one size first"
            )
    joined = torch.cat([inputs for inputs, _ in batches])
    return Samples(
        inputs=joined.float() if joined.dtype == torch.float64 else joined,
        labels=_joined([labels for _, labels in batches]),
        class_names=class_names,
        name=name,
        sentences=meant == "sentences",
    )


def _joined(labels: list[Tensor]) -> Tensor:
    """All labels in one tensor; of boxes there may be more in one batch than in another."""
    if labels[0].ndim == 3:
        return padded([own for batch in labels for own in batch])
    return torch.cat(labels)


def _kind(batch: Tensor) -> str:
    return f"{tuple(batch.shape[1:])} {str(batch.dtype).removeprefix('torch.')}"


def _class_names(clean: Any) -> tuple[str, ...]:
    """The names that a dataset carries, through the loaders and subsets around it."""
    while isinstance(clean, DataLoader) or not hasattr(clean, "classes"):
        clean = getattr(clean, "dataset", None)
        if clean is None:
            return ()
    return tuple(map(str, clean.classes))
