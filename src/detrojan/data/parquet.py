"""Parquet image sets as the Hugging Face hub keeps them: a column of encoded images and a column of class numbers."""

import json
from pathlib import Path
from typing import Any

import torch

from detrojan.data.images import Decoder, stack
from detrojan.data.samples import Samples
from detrojan.data.splits import SPELLINGS, Split
from detrojan.errors import BadData, BadFile, MissingExtra

IMAGES = ("image", "img", "images", "pixel_values")
LABELS = ("label", "labels", "fine_label", "target")


def parquet_files(folder: Path, *, split: Split) -> list[Path]:
    """The parquet files of a folder (or its `data` folder) that belong to this split; all where none names a split."""
    files = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    named = {
        part: [file for file in files if file.name.lower().startswith(spellings)]
        for part, spellings in SPELLINGS.items()
    }
    if files and any(named.values()) and not named[split]:
        found = ", ".join(file.name for file in files[:3])
        raise BadData(f"{folder}: no parquet file for split {split!r}, only {found}")
    return named[split] or files


def read_parquet(files: list[Path], *, decoder: Decoder) -> Samples:
    """Read the files in their order; class names come from the label column's description, if it has one.

    Raises:
        MissingExtra: pyarrow is not installed.
        BadFile: a file or an image in it is damaged.
        BadData: no image or label column, images kept as paths only, rows without a label, or differing sizes.
    """
    pixels, labels, places = [], [], []
    classes: tuple[str, ...] = ()
    for file in files:
        table = _table(file)
        image, label = _column(file, table, IMAGES), _column(file, table, LABELS)
        classes = classes or _class_names(table, label)
        labels += _labels(file, label, table.column(label).to_pylist())
        for row, cell in enumerate(table.column(image).to_pylist()):
            places.append(f"{file}, row {row}")
            pixels.append(decoder.decode(_encoded(cell, places[-1]), name=places[-1]))
    if not pixels:
        raise BadData(f"{files[0]}: holds no rows")
    return Samples(
        inputs=stack(pixels, places.__getitem__),
        labels=torch.tensor(labels, dtype=torch.int64),
        class_names=classes,
        name=str(files[0] if len(files) == 1 else files[0].parent),
    )


def _table(file: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(f"{file}: reading parquet needs pyarrow; pip install 'detrojan[parquet]'") from error
    try:
        return parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadFile(f"{file}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again") from error


def _column(file: Path, table: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise BadData(f"{file}: needs a column named {' or '.join(names)}, found {', '.join(table.column_names)}")


def _class_names(table: Any, label: str) -> tuple[str, ...]:
    described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return tuple(described.get("info", {}).get("features", {}).get(label, {}).get("names", ()))


def _labels(file: Path, column: str, values: list[Any]) -> list[int]:
    for row, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadData(f"{file}: column {column!r} must hold class numbers, found {value!r} in row {row}")
    return values


def _encoded(cell: Any, place: str) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise BadData(f"{place}: the image must be kept as bytes, found {'a path only' if cell else 'nothing'}")
    return content
