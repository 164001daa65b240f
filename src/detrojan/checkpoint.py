"""Weights between a file and a network: find the state dict in a file, fit it in, write it back as it came.

What comes out has the format, nesting, keys, key order, dtypes and other entries of what came in. Reading runs no code
from the file (`weight_files.py`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detrojan import weight_files
from detrojan.errors import BadArgument, BadFile, BadWeights
from detrojan.weight_copies import copies, lookalikes, rebuilt
from detrojan.weight_files import Format, WeightFile
from detrojan.weight_fit import check_ties, check_values, fitted, not_finite, prefixes, some, ties

NESTINGS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Names under which training scripts keep the state dict; of several, the first in this order is taken."""
AVERAGES = ("ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema")
"""Names of averaged weights, taken after those."""

_HEAD = re.compile(r"(^|\.)(fc\d*|heads?|classifier|linear|logits|last_linear)(\.|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A file of weights as it was read: `state` has the keys and values exactly as in the file."""

    path: Path
    format: Format
    state: dict[str, Tensor]
    location: tuple[str, ...]
    """Where in `document` the state dict lies: `()` or, say, `("net",)`."""
    document: Any
    """The whole container, with the other entries (epoch, optimizer) that go back into the written file."""
    metadata: Mapping[str, str] | None
    """The metadata of a safetensors file."""
    size: int
    """Bytes on disk, of shards together."""
    sha256: str

    @property
    def primary(self) -> Any:
        """The mapping in `document` that holds the state dict."""
        return _at(self.document, self.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `detrojan show FILE` tells of a weights file."""

    path: Path
    format: Format
    size: int
    """Bytes on disk, of shards together."""
    sha256: str
    location: tuple[str, ...]
    copies: tuple[tuple[str, ...], ...]
    """Where the file holds the network again (an average, say); `write` puts the new weights there, too."""
    lookalikes: tuple[tuple[str, ...], ...]
    """What else holds tensors of the network's shapes (an optimizer's averages, say); `write` leaves it as it is."""
    other_entries: Mapping[str, str]
    """The other entries beside the state dict and the safetensors metadata, with their type or plain value."""
    tensors: int
    parameters: int
    """Numbers in floating tensors, running statistics included, tied tensors counted once."""
    dtypes: Mapping[str, int]
    """Tensors per dtype."""
    prefix: str
    """What all keys begin with, such as `module.`."""
    shapes: Mapping[str, tuple[int, ...]]
    not_finite: tuple[str, ...]
    """Tensors with NaN or infinite values."""
    tied: tuple[tuple[str, ...], ...]
    """Groups of keys that share one storage."""
    num_classes: int | None
    """A guess: the rows of the last matrix of a head, else of the last matrix."""


def read(path: Path | str) -> Checkpoint:
    """Read a safetensors file, the index of a sharded one, or a file that torch.save wrote, whatever its suffix.

    Raises:
        BadFile: The file is missing, damaged, not of these formats, holds more than weights, or no state dict.
    """
    path = Path(path)
    file = weight_files.read_shards(path) if path.name.endswith(".index.json") else weight_files.read(path)
    location = _locate(path, file)
    return Checkpoint(
        path=path,
        format=file.format,
        state=_tensors(_at(file.document, location)),
        location=location,
        document=file.document,
        metadata=file.metadata,
        size=file.size,
        sha256=file.sha256,
    )


def load_into(model: nn.Module, checkpoint: Checkpoint) -> nn.Module:
    """Load the weights into `model` and return it, in evaluation mode.

    A prefix that all keys share (`module.`, `_orig_mod.`, `model.`) is stripped or added where this makes them fit.
    Half-precision weights are converted to the model's dtype. Batch counters that old files lack, and keys that the
    model ties to others that are present, may be missing. When anything is wrong the model is left unchanged.

    Raises:
        BadWeights: Keys or shapes do not fit, values are NaN or infinite, or tensors are quantized or without data.
    """
    names = fitted(checkpoint.state, model, checkpoint.path)
    targets = model.state_dict()
    check_values(checkpoint.state, {name: targets[names[name]] for name in checkpoint.state}, checkpoint.path)
    state = {names[name]: tensor for name, tensor in checkpoint.state.items()}
    check_ties(state, model, checkpoint.path)
    model.load_state_dict(state, strict=False)
    return model.eval()


def write(path: Path | str, checkpoint_like: Checkpoint, model: nn.Module, *, force: bool = False) -> str:
    """Write the model's weights the way another checkpoint came and return the sha256 of the new file.

    Format, nesting, keys, their order, dtypes and the other entries are those of `checkpoint_like`. Where that holds
    the same network more than once (an average of the weights, say), every copy gets the new weights, since a copy
    left as it was would carry the backdoor on: at any depth, the tensors of a mapping that have the network's names,
    behind any prefix, and shapes, where they are at least half of the network. `describe` names what else could be
    one (`lookalikes`).

    Raises:
        BadArgument: The path exists and `force` is not given, its folder does not exist, or its suffix says another
            format than the checkpoint has (`save` converts).
        BadWeights: The model does not fit the checkpoint, or a weight would not be finite in the file's dtype.
    """
    path = Path(path)
    weight_files.check_target(path, force=force)
    if path.suffix != checkpoint_like.path.suffix and _family(path.suffix) != _family(checkpoint_like.format):
        raise BadArgument(
            f"{path} would hold a {checkpoint_like.format} container, as {checkpoint_like.path} does, and its suffix "
            "says otherwise: choose the input's suffix, or write a plain state dict with detrojan.checkpoint.save"
        )
    document, state = checkpoint_like.document, checkpoint_like.state
    names, primary = fitted(state, model, path), checkpoint_like.primary
    fresh = {id(primary): _as_stored(state, names, model, path)}
    for found in copies(document, primary, state):
        stored = {name: found.holder[name] for name in found.names}
        theirs = {name: names[key] for name, key in found.names.items()}
        fresh[id(found.holder)] = _as_stored(stored, theirs, model, path)
    return weight_files.write(
        path, rebuilt(document, fresh), format=checkpoint_like.format, metadata=checkpoint_like.metadata, force=force
    )


def save(path: Path | str, model: nn.Module, *, force: bool = False, metadata: Mapping[str, str] | None = None) -> str:
    """Write the plain state dict of a model, in the format that the suffix says, and return the file's sha256.

    A safetensors file holds tied tensors once, under their first key; `load_into` ties them again.

    Raises:
        BadArgument: The suffix is unknown, metadata is given for a torch file, the path exists and `force` is not
            given, or its folder does not exist.
    """
    path = Path(path)
    if path.suffix not in weight_files.SUFFIXES:
        raise BadArgument(f"{path} has no known suffix: choose one of {', '.join(weight_files.SUFFIXES)}")
    kind = weight_files.SUFFIXES[path.suffix]
    if kind == "torch":
        if metadata:
            raise BadArgument(f"{path}: only safetensors files hold metadata, so leave it out or end in .safetensors")
        document = model.state_dict()
        apart = {id(document): _apart(_tensors(document))}
        return weight_files.write(path, rebuilt(document, apart), format=kind, force=force)
    state = _tensors(model.state_dict())
    spare = {name for group in ties(state) for name in group[1:]}
    plain = {name: tensor for name, tensor in _apart(state).items() if name not in spare}
    return weight_files.write(path, plain, format=kind, metadata={"format": "pt", **(metadata or {})}, force=force)


def describe(path: Path | str) -> Description:
    """Tell what a weights file holds, without a network.

    Raises:
        BadFile: As `read` does.
    """
    found = read(path)
    tied = ties(found.state)
    spare = {name for group in tied for name in group[1:]}
    floating = {name: tensor for name, tensor in found.state.items() if tensor.is_floating_point()}
    dtypes = [str(tensor.dtype).removeprefix("torch.") for tensor in found.state.values()]
    return Description(
        path=found.path,
        format=found.format,
        size=found.size,
        sha256=found.sha256,
        location=found.location,
        copies=tuple(each.place for each in copies(found.document, found.primary, found.state)),
        lookalikes=lookalikes(found.document, found.primary, found.state),
        other_entries=_other_entries(found),
        tensors=len(found.state),
        parameters=sum(tensor.numel() for name, tensor in floating.items() if name not in spare),
        dtypes={dtype: dtypes.count(dtype) for dtype in dict.fromkeys(dtypes)},
        prefix=prefixes(found.state)[-1],
        shapes={name: tuple(tensor.shape) for name, tensor in found.state.items()},
        not_finite=tuple(not_finite(found.state)),
        tied=tied,
        num_classes=_guess_classes(found.state),
    )


def _locate(path: Path, file: WeightFile) -> tuple[str, ...]:
    places = sorted((place for place, _ in _state_dicts(file.document)), key=_preference)
    if not places:
        inside = ", ".join(map(str, file.document)) if isinstance(file.document, Mapping) else "no dict"
        raise BadFile(
            f"{path} holds no state dict, which is a dict of names and tensors, with floating numbers among them "
            f"(found a {type(file.document).__name__}: {inside[:200] or 'empty'}): save model.state_dict()"
        )
    if len(places) > 1 and _preference(places[0]) == _preference(places[1]):
        raise BadFile(
            f"{path} holds several state dicts ({', '.join(map('.'.join, places))}), and no name says which is the "
            f"network's: re-save the one you mean by itself, or under {NESTINGS[0]!r}"
        )
    return places[0]


def _preference(place: tuple[str, ...]) -> tuple[bool, int, list[int]]:
    """Known names first, then less nesting, then the order of the known names."""
    known = (*NESTINGS, *AVERAGES)
    ranks = [known.index(name) if name in known else len(known) for name in place]
    return ranks[-1:] == [len(known)], len(place), ranks


def _state_dicts(document: Any, place: tuple[str, ...] = (), depth: int = 2) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The innermost mappings with floating tensors under names, two levels below the top at most; no optimizer."""
    if not isinstance(document, Mapping):
        return
    inner = [
        found
        for name, value in document.items()
        if depth and isinstance(name, str) and not name.startswith("optim")
        for found in _state_dicts(value, (*place, name), depth - 1)
    ]
    yield from inner
    floating = (tensor.is_floating_point() or tensor.is_quantized for tensor in _tensors(document).values())
    if not inner and any(floating):
        yield place, document


def _as_stored(
    stored: Mapping[str, Tensor], names: Mapping[str, str], model: nn.Module, path: Path
) -> dict[str, Tensor]:
    """The model's tensors under the stored names and in the stored dtypes; those that were tied are tied again."""
    values = model.state_dict()
    made = {name: values[names[name]].detach().to(old.dtype) for name, old in stored.items()}
    if bad := not_finite(made):
        raise BadWeights(
            f"{path} is not written: {some(bad)} would not be finite in the input's {made[bad[0]].dtype}; "
            "write the model's own dtype with detrojan.checkpoint.save"
        )
    made = _apart(made, ties(stored))
    return {
        name: nn.Parameter(made[name], requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else made[name]
        for name, old in stored.items()
    }


def _apart(state: Mapping[str, Tensor], tied: tuple[tuple[str, ...], ...] | None = None) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share memory only where they are tied."""
    made = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    for first, *others in ties(state) if tied is None else tied:
        made |= dict.fromkeys(others, made[first])
    return made


def _at(document: Any, location: tuple[str, ...]) -> Any:
    for name in location:
        document = document[name]
    return document


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _family(name: str) -> bool:
    return name.removeprefix(".") == "safetensors"


def _other_entries(checkpoint: Checkpoint) -> dict[str, str]:
    entries: dict[str, Any] = dict(checkpoint.metadata or {})
    if checkpoint.location:
        entries |= {str(k): v for k, v in checkpoint.document.items() if k != checkpoint.location[0]}
    else:
        entries |= {str(k): v for k, v in checkpoint.document.items() if k not in checkpoint.state}
    plain = (str, int, float, bool, type(None))
    return {
        name: str(value)[:80] if isinstance(value, plain) else type(value).__name__ for name, value in entries.items()
    }


def _guess_classes(state: Mapping[str, Tensor]) -> int | None:
    matrices = [name for name, tensor in state.items() if tensor.ndim == 2 and name.endswith("weight")]
    heads = [name for name in matrices if _HEAD.search(name)]
    chosen = (heads or matrices)[-1:]
    return state[chosen[0]].shape[0] if chosen else None
