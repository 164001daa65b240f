"""Rows of a benchmark as files: written beside and renamed, claimed by one process at a time."""

import json
from pathlib import Path
from typing import Any

from detrojan.whole_files import write_text


def claim(path: Path) -> bool:
    """Take an unfinished row, so that several processes can work side by side; remove `*.running` after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return False
    try:
        path.with_suffix(".running").open("x").close()
    except FileExistsError:
        return False
    return True


def release(path: Path) -> None:
    """Give a finished row back."""
    path.with_suffix(".running").unlink()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=1) + "\n")


def published(path: Path) -> list[dict[str, Any]]:
    """The rows of a published file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
