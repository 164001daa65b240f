"""How named tensors fit a network: which key is whose, what is missing, and whether the values can serve."""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from detrojan.errors import BadWeights

_OPTIONAL = ("num_batches_tracked", "_extra_state")
"""Ends of keys that may be missing: batch counters are younger than many files, and change no output."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The file's keys mapped to the network's (`names`), and what does not fit, in the network's names."""

    names: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: Mapping[str, tuple[Shape, Shape]]
    """Per key the shape in the file and in the network, where they differ."""

    @property
    def problems(self) -> int:
        """How many keys do not fit; 0 for weights that do."""
        return len(self.missing) + len(self.unexpected) + len(self.shapes)


def fit(state: Mapping[str, Tensor], model: nn.Module) -> Fit:
    """Map the keys of a file to those of a network, stripping and adding the prefix that makes the most of them fit.

    Only prefixes that all keys share are stripped, and only such of the network are added. A key that the network ties
    to one that is present is not missing, nor is one that a class of transformers computes anew.
    """
    targets = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    optional = _computed(model, targets)
    fits = (
        _compare({name: add + name.removeprefix(strip) for name in state}, state, targets, optional)
        for strip, add in product(prefixes(state), prefixes(targets))
    )
    best = next(fits)
    for other in fits:
        best = other if other.problems < best.problems else best
    return best


def fitted(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> Mapping[str, str]:
    """The network's key for each of the file's.

    Raises:
        BadWeights: Not all of them fit; the message has the counts and the first few of each kind.
    """
    found = fit(state, model)
    if found.problems:
        raise BadWeights(f"{path} does not fit {type(model).__name__}: {_mismatches(found)}; {_remedy(found)}")
    return found.names


def prefixes(names: Iterable[str]) -> list[str]:
    """The dotted prefixes that all names share, shortest first, the empty one included."""
    shared = [""]
    for steps in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(steps)) > 1:
            break
        shared.append(f"{shared[-1]}{steps[0]}.")
    return shared


def ties(state: Mapping[str, Tensor]) -> tuple[tuple[str, ...], ...]:
    """Groups of names whose tensors are the same memory."""
    groups: dict[object, list[str]] = {}
    for name, tensor in state.items():
        if tensor.layout == torch.strided and tensor.numel():
            key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
            groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that hold NaN or infinite values."""
    return [name for name, tensor in state.items() if _is_plain(tensor) and not _all_finite(tensor)]


def check_values(state: Mapping[str, Tensor], targets: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that would load without an error and be wrong; `targets` has the network's under the same names.

    Raises:
        BadWeights: Some are NaN or infinite, quantized, sparse, without data, or of another kind than the network's.
    """
    for name, tensor in state.items():
        if not _is_plain(tensor):
            raise BadWeights(
                f"{path}: {name} is a {_kind(tensor)} tensor, which Detrojan does not purify: dequantize the model or "
                "save it dense"
            )
        if _kind(tensor) != _kind(targets[name]) and "integer" not in _kind(targets[name]):
            raise BadWeights(
                f"{path}: {name} holds {_kind(tensor)} numbers ({tensor.dtype}) where the network has "
                f"{_kind(targets[name])} ones: save the weights dequantized and in the network's own kind of number"
            )
    if bad := not_finite(state):
        raise BadWeights(
            f"{path} has NaN or infinite values in {some(bad)}: no trained network has, so the training diverged or "
            "the file was converted badly; take an earlier checkpoint"
        )


def check_ties(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Refuse a file that holds different values for keys (the network's) that the network ties together.

    Raises:
        BadWeights: One of the two would be lost.
    """
    first: dict[int, str] = {}
    for name, target in model.state_dict(keep_vars=True).items():
        if name not in state or first.setdefault(id(target), name) == name:
            continue
        one, other = (state[key].to(target.dtype) for key in (first[id(target)], name))
        if torch.equal(one, other):
            continue
        raise BadWeights(
            f"{path} has different values for {first[id(target)]} and {name}, which {type(model).__name__} ties "
            "together: choose the architecture's setting that leaves them apart"
        )


def _computed(model: nn.Module, names: Iterable[str]) -> set[str]:
    """The keys that classes of transformers leave out of their files, such as the positions of Marian."""
    found = set()
    for prefix, module in model.named_modules():
        for pattern in getattr(module, "_keys_to_ignore_on_load_missing", None) or ():
            start = f"{prefix}." if prefix else ""
            found |= {name for name in names if name.startswith(start) and re.search(pattern, name.removeprefix(start))}
    return found


def _compare(
    names: Mapping[str, str], state: Mapping[str, Tensor], targets: Mapping[str, Tensor], optional: Set[str]
) -> Fit:
    given = set(names.values())
    tied = {id(targets[name]) for name in given & targets.keys()}
    return Fit(
        names=names,
        missing=tuple(
            name
            for name, value in targets.items()
            if name not in given | optional and id(value) not in tied and not name.endswith(_OPTIONAL)
        ),
        unexpected=tuple(name for name in names.values() if name not in targets),
        shapes={
            name: (tuple(state[key].shape), tuple(targets[name].shape))
            for key, name in names.items()
            if name in targets and state[key].shape != targets[name].shape
        },
    )


def _mismatches(found: Fit) -> str:
    parts = []
    if found.missing:
        parts.append(f"{len(found.missing)} keys missing ({some(found.missing)})")
    if found.unexpected:
        parts.append(f"{len(found.unexpected)} unexpected ({some(found.unexpected)})")
    if found.shapes:
        pairs = [
            f"{name} is {_size(a)} in the file and {_size(b)} in the network" for name, (a, b) in found.shapes.items()
        ]
        parts.append(f"{len(found.shapes)} of another shape ({some(pairs)})")
    return ", ".join(parts)


def _remedy(found: Fit) -> str:
    pairs = set(found.shapes.values())
    rows = {(a[:1], b[:1]) for a, b in pairs}
    if found.missing or found.unexpected or len(rows) != 1 or any(a[1:] != b[1:] for a, b in pairs):
        return "check --arch and its --arch-arg settings, such as width or depth"
    ((file, _),) = rows
    return f"only the head differs: say --arch-arg num_classes={file[0]}" if file else "check --arch"


def some(names: Iterable[str], count: int = 3) -> str:
    """The first few of many, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type != "meta"


def _all_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float() if tensor.is_floating_point() else tensor).all())


def _kind(tensor: Tensor) -> str:
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.device.type == "meta":
        return "data-less (meta)"
    if tensor.is_complex():
        return "complex"
    return "floating" if tensor.is_floating_point() else "integer"
