"""Image folders: one directory a class, its name the class name, as torchvision's ImageFolder reads them."""

from pathlib import Path

import torch

from detrojan.data.images import SUFFIXES, Decoder, stack
from detrojan.data.samples import Samples
from detrojan.data.splits import Split, part_of
from detrojan.errors import BadData


def read_folder(folder: Path, *, split: Split, decoder: Decoder) -> Samples:
    """Read a folder of class directories, or the `train` / `test` / `val` folder of it that `split` names.

    Classes are numbered in the sorted order of their names, images are read in the sorted order of theirs.

    Raises:
        BadData: no class directory, one without images, files that are no images, or differing sizes.
        BadFile: an image cannot be read.
    """
    folder = part_of(folder, split)
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = {child: _images(child) for child in classes}
    _check(folder, found)
    paths = [path for images in found.values() for path in images]
    pixels = stack([decoder.decode(path, name=str(path)) for path in paths], lambda i: str(paths[i]))
    counts = torch.tensor([len(images) for images in found.values()])
    return Samples(
        inputs=pixels,
        labels=torch.arange(len(classes)).repeat_interleave(counts),
        class_names=tuple(child.name for child in classes),
        name=str(folder),
    )


def _images(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)


def _check(folder: Path, found: dict[Path, list[Path]]) -> None:
    if not found:
        raise BadData(f"{folder}: must hold one directory per class with images in it, found no directory")
    empty = [child.name for child, images in found.items() if not images]
    stray = [path.name for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in SUFFIXES]
    problems = []
    if empty:
        problems.append(f"no images in class directory {_some(empty)}")
    if stray:
        problems.append(f"images outside a class directory: {_some(stray)}")
    if problems:
        raise BadData(f"{folder}: {' and '.join(problems)}; move, fill or remove them")


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
