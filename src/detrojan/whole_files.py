"""Files that are written whole or not at all: beside their place, then renamed into it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which it becomes at the end; on failure nothing is left behind.

    A link stays a link: what it leads to is replaced. A file that was there leaves its permissions to the new one.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        if path.exists():
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8; what cannot be encoded, such as half a surrogate pair, becomes a question mark."""
    with beside(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="replace")
    return path
