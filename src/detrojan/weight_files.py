"""The bytes of a weights file: what kind it is, reading it without running anything, writing it beside and renaming.

A file is recognised by its content, not by its name. Nothing here unpickles: torch files go through
`torch.load(weights_only=True)`, which knows tensors and plain containers and refuses every other global. The one thing
added is a single NumPy number (the accuracy that many scripts store), which a function of this file rebuilds.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.serialization import safe_globals

from detrojan.errors import BadArgument, BadFile
from detrojan.whole_files import beside

Format = Literal["safetensors", "torch", "torch-legacy"]
"""`torch-legacy` is the container that torch wrote before version 1.6; it is written back as such."""

SUFFIXES: Mapping[str, Format] = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".tar": "torch",
    ".ckpt": "torch",
}
"""What a new file of this suffix holds; `.pth.tar` ends in `.tar`."""

_ASK = "ask the sender for a .safetensors file or a state dict"
_READS = "Detrojan reads safetensors files and state dicts that torch.save wrote (.pt, .pth, .bin, .tar, .ckpt)"
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights", "fetch them with `git lfs pull`"),
    (b"<!doctype", "is a web page, not weights", "download the raw file, not the page that shows it"),
    (b"<html", "is a web page, not weights", "download the raw file, not the page that shows it"),
    (b"\x89hdf", "is an HDF5 file (Keras)", "export the weights to safetensors first"),
    (b"gguf", "is a GGUF file (llama.cpp)", "use the safetensors file that it was made from"),
    (b"\x1f\x8b", "is gzip-compressed", "decompress it first"),
    (b"\x93numpy", "is a NumPy array", "save the weights as a safetensors file"),
    (b"\x80", "is a plain Python pickle, and Detrojan never unpickles", _ASK),
)
_ONNX = re.compile(rb"\x08[\x01-\x1f](\x12|\x1a|:|B)", re.DOTALL)
_GLOBAL = re.compile(
    r"(?:GLOBAL |Unsupported class |reduce for unrecognized function |but got <class ')([\w.]+(?:\('\w+'\))?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """A file as it was read: its container, format, metadata (of a safetensors file), bytes on disk and hash."""

    document: Any
    format: Format
    metadata: Mapping[str, str] | None
    size: int
    sha256: str


class _NumberType:
    """Stands in for numpy.dtype while a file is read: real and integer numbers, nothing that could hold an object."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[iuf][1248]|b1", code):
            raise ValueError(f"GLOBAL numpy.dtype({code!r}) is no number")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = (">" if state[1] == ">" else "<") + self.code


def _number(kind: _NumberType, raw: bytes) -> Any:
    return np.frombuffer(raw, kind.code)[0]


_NUMBERS = (
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
)


def read(path: Path) -> WeightFile:
    """Read the container that a file holds, with all tensors on the CPU.

    Raises:
        BadFile: The file is missing, damaged, of another kind, or wants more than weights to be loaded.
    """
    kind = recognise(path)
    try:
        digest, count = sha256_of(path), path.stat().st_size
        if kind == "safetensors":
            document, metadata = _read_safetensors(path)
            return WeightFile(document=document, format=kind, metadata=metadata, size=count, sha256=digest)
        with path.open("rb") as opened, safe_globals([*_NUMBERS]):  # not by its path, since torch goes by some suffixes
            document = torch.load(opened, map_location="cpu", weights_only=True)
    except BadFile:
        raise
    except Exception as error:  # the readers answer damage with many types, from KeyError to OverflowError
        raise _refusal(path, error) from error
    return WeightFile(document=document, format=kind, metadata=None, size=count, sha256=digest)


def write(
    path: Path,
    document: Any,
    *,
    format: Format,  # noqa: A002 - the field's name, as in the record
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> str:
    """Write a container beside its place, then rename it into place; return the sha256 of what was written.

    A file that is there already stays untouched, unless `force`. On failure nothing is left behind.

    Raises:
        BadArgument: The path exists and `force` is not given, or its folder does not exist.
    """
    check_target(path, force=force)
    with beside(path) as unfinished:
        if format == "safetensors":
            save_file(document, unfinished, metadata=dict(metadata) if metadata else None)
        else:
            torch.save(document, unfinished, _use_new_zipfile_serialization=format == "torch")
        return sha256_of(unfinished)


def check_target(path: Path, *, force: bool) -> None:
    """Refuse a path that must not be written; worth calling before a long job, too.

    Raises:
        BadArgument: The path exists and `force` is not given, it is no file (a device, a pipe), or its folder does not
            exist.
    """
    if path.is_dir():
        raise BadArgument(f"{path} is a folder: name the file to write in it")
    if path.exists() and not path.is_file():
        raise BadArgument(f"{path} is no regular file, but a device or a pipe: name a file to write")
    if path.exists() and not force:
        raise BadArgument(f"{path} exists, and Detrojan overwrites nothing unasked: choose another name or add --force")
    if not (folder := path.resolve().parent).is_dir():
        raise BadArgument(f"cannot write {path}: there is no folder {folder}; make it first")


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recognise(path: Path) -> Format:
    """Tell from its first bytes which format a file has.

    Raises:
        BadFile: The file is missing, empty, damaged, or of a format that Detrojan does not read.
    """
    head = _head(path)
    if head.startswith(b"PK"):
        _check_zip(path)
        return "torch"
    if head.startswith(_LEGACY):
        return "torch-legacy"
    if head[8:9] == b"{":
        return "safetensors"
    if path.suffix.lower() == ".onnx" or _ONNX.match(head):
        raise BadFile(f"{path} is an ONNX file, a graph rather than weights: use the PyTorch weights it was made from")
    for magic, what, remedy in _FOREIGN:
        if head.lstrip().lower().startswith(magic):
            raise BadFile(f"{path} {what}: {remedy}")
    if head[257:262] == b"ustar":
        raise BadFile(f"{path} is a tar archive, not a torch file of that name: unpack it and name the file inside")
    raise BadFile(f"{path} is no weights file, or its start is damaged: {_READS}")


def _head(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        hint = f"name one of the files in it: {', '.join(inside[:5])}" if inside else "name a weights file"
        raise BadFile(f"{path} is a folder: {hint}")
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, siblings, n=1, cutoff=0.5)
        hint = f", did you mean {path.with_name(near[0])}?" if near else ": check the path"
        raise BadFile(f"there is no file {path}{hint}")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not head:
        raise BadFile(f"{path} is empty: the download or the copy failed, get it again")
    return head


def _check_zip(path: Path) -> None:
    """Refuse zip archives that torch.save did not write, and broken checksums, which torch does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info.CRC for info in archive.infolist()}
            broken = archive.testzip() if any(entries.values()) else None  # all 0: written without checksums
    except Exception as error:  # zipfile answers damage with BadZipFile, but also struct.error and others
        raise BadFile(_damaged(path, error)) from error
    names = [name.partition("/")[2] for name in entries]
    if any(name == "constants.pkl" or name.startswith("code/") for name in names):
        raise BadFile(f"{path} is a TorchScript archive, which holds code: {_ASK}, and name its architecture by --arch")
    if any(name.startswith(("models/", "archive_format")) for name in names):
        raise BadFile(f"{path} is a program of torch.export, a graph rather than weights: {_ASK}")
    if "data.pkl" not in names:
        raise BadFile(f"{path} is a zip archive, but torch.save did not write it: {_READS}")
    if broken:
        raise BadFile(_damaged(path, f"the checksum of {broken} does not fit"))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - no mapping


def read_shards(index: Path) -> WeightFile:
    """Read the safetensors shards that an index (`model.safetensors.index.json`) names as one container.

    The hash is that of the shards' own hashes, in the order of their names.

    Raises:
        BadFile: The index is damaged, or a shard is missing, damaged or lies outside the index's folder.
    """
    _head(index)
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(
            f"{index} is no index of safetensors shards: it needs a 'weight_map' of tensor to file"
        ) from error
    if outside := [name for name in names if Path(name).name != name]:
        raise BadFile(f"{index} names the file {outside[0]!r} outside its own folder: {_ASK}")
    shards = [read(index.with_name(name)) for name in names]
    if any(shard.format != "safetensors" for shard in shards):
        raise BadFile(f"{index} names files that are not safetensors: {_ASK}")
    return WeightFile(
        document={name: tensor for shard in shards for name, tensor in shard.document.items()},
        format="safetensors",
        metadata=shards[0].metadata if shards else None,
        size=sum(shard.size for shard in shards),
        sha256=hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest(),
    )


def _refusal(path: Path, error: Exception) -> BadFile:
    wanted = _GLOBAL.search(str(error))
    if wanted is None:
        return BadFile(_damaged(path, error))
    return BadFile(
        f"{path} holds more than weights: loading it needs the Python global {wanted[1].rstrip('.')}, and Detrojan "
        "never unpickles, since that can run any code; if you trust the file, re-save it where you do with "
        f"torch.save(model.state_dict(), ...), else {_ASK}"
    )


def _damaged(path: Path, cause: object) -> str:
    """One sentence; of a reader's message only the first line, and the end of torch's preface."""
    lines = [line for line in str(cause).split("WeightsUnpickler error:")[-1].strip().splitlines() if line]
    return f"{path} is damaged or truncated ({lines[0][:160] if lines else type(cause).__name__}): get the file again"
