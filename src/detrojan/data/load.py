"""One call that reads samples from wherever they lie: a folder, a file, or a data set known by name."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from detrojan.data.arrays import read_npz
from detrojan.data.folder import read_folder
from detrojan.data.images import Decoder, resized
from detrojan.data.parquet import parquet_files, read_parquet
from detrojan.data.samples import Samples
from detrojan.data.sets import DATASETS
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadData, unknown_name
from detrojan.settings import built


def load(
    source: str | Path,
    *,
    split: Split = "train",
    root: Path | None = None,
    size: int | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    channels: Literal[1, 3] = 3,
    download: bool = True,
    **settings: Any,
) -> Samples:
    """Read samples.

    Args:
        source: a folder with one directory per class, a `.npz` file, a parquet file or a folder of them, or the name
            of a data set, with settings behind a colon: `cifar10`, `gtsrb:crop=sign`. A folder that is called like a
            data set is meant by `./cifar10`.
        split: the part to read; sources that are not divided give all of theirs for both.
        root: where named data sets are looked for; by default the environment's DETROJAN_DATA, else `./data`.
        size: side of the square, in pixels, that images are brought to; None keeps theirs, which must agree.
        fit: how images that are not square get there: `crop` cuts the middle out, `stretch` ignores the aspect.
        channels: 3 turns every image of a folder or parquet file into RGB, 1 into grey.
        download: whether torchvision may fetch a named data set that is not there.
        settings: settings of a named data set, such as `crop="sign"`.

    Raises:
        UnknownName: no such data set, setting, file or folder.
        BadArgument: a setting is of the wrong type or out of its range.
        BadFile: a file is damaged; the sentence names it.
        BadData: the samples are missing or cannot serve.
    """
    if split not in ("train", "test"):
        raise BadArgument(f"split must be 'train' or 'test', got {split!r}")
    decoder = Decoder(size=size, fit=fit, channels=channels)
    name, _, text = str(source).partition(":")
    if isinstance(source, str) and name in DATASETS:
        data_set = _configured(name, {**_parsed(name, text), **settings})
        return resized(data_set.read(split=split, root=data_root(root), download=download), decoder)
    path = Path(source).expanduser()
    if not path.exists():
        raise _absent(source)
    if settings:
        raise BadArgument(f"{path}: only named data sets take settings, got {', '.join(settings)}")
    return _read_path(path, split=split, decoder=decoder)


load_data = load
"""The same call by the name it has outside of this package."""


def data_root(root: Path | None = None) -> Path:
    """Where named data sets lie: `root` if given, else the environment's DETROJAN_DATA, else `./data`."""
    return Path(root or os.environ.get("DETROJAN_DATA") or "data").expanduser()


def _read_path(path: Path, *, split: Split, decoder: Decoder) -> Samples:
    if path.is_dir():
        files = parquet_files(path, split=split)
        return read_parquet(files, decoder=decoder) if files else read_folder(path, split=split, decoder=decoder)
    if path.suffix == ".parquet":
        return read_parquet([path], decoder=decoder)
    if path.suffix == ".npz":
        return resized(read_npz(path, split=split), decoder)
    raise BadData(f"{path}: samples are read from a folder, a .npz or a .parquet file; this is none of them")


def _configured(name: str, settings: dict[str, Any]) -> Any:
    method = DATASETS[name]
    known = [field.name for field in fields(method)]
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of data set {name}", setting, known)
    return built(method, settings, where=name)


def _parsed(name: str, text: str) -> dict[str, str]:
    """Settings of the form `key=value,key=value`, as texts."""
    settings: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise BadArgument(f"{name}:{text}: settings are given as {name}:key=value, got {part!r}")
        settings[key.strip()] = value.strip()
    return settings


def _absent(source: str | Path) -> Exception:
    if isinstance(source, Path) or "/" in source or "\\" in source or "." in source:
        return BadData(f"{source}: no such file or folder; check the path")
    return unknown_name("data set, file or folder", source.partition(":")[0], DATASETS)
