"""The two parts of a data set, and the names that folders and files give them."""

from pathlib import Path
from typing import Literal

from detrojan.errors import BadData

Split = Literal["train", "test"]
SPELLINGS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "val", "valid", "validation"),
}


def part_of(folder: Path, split: Split) -> Path:
    """The sub-folder that holds this split; the folder itself where it is not divided into splits.

    A folder is divided when all of its directories carry the name of a split.

    Raises:
        BadData: it is divided, but not into this split.
    """
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    every = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
    if not children or not children.keys() <= every:
        return folder
    found = [children[spelling] for spelling in SPELLINGS[split] if spelling in children]
    if not found:
        raise BadData(f"{folder}: has no folder for split {split!r}, only {', '.join(sorted(children))}")
    return found[0]
