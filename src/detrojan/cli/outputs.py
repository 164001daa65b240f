"""Files that a verb is going to write: refused before the work begins, and finished once writing has begun."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detrojan.errors import BadArgument


def check(*targets: Path | None, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse what must not be written, before minutes are spent on it.

    Raises:
        BadArgument: a target exists, is an input (both without `force`), is a folder, has no folder, or is given twice.
    """
    from detrojan.weight_files import check_target  # imports torch

    wanted = [target for target in targets if target is not None]
    if len({target.resolve() for target in wanted}) < len(wanted):
        raise BadArgument(f"{wanted[0]} is named for two outputs; give each its own name")
    for target in wanted:
        if not force and any(target.resolve() == source.resolve() for source in inputs):
            raise BadArgument(f"{target} is the input itself; write to another file, or overwrite it with --force")
        check_target(target, force=force)


def check_suffix(target: Path) -> None:
    """Refuse a name that does not say which format a new weights file should have."""
    from detrojan.weight_files import SUFFIXES

    if target.suffix not in SUFFIXES:
        raise BadArgument(f"{target} has no known suffix; end it in one of {', '.join(SUFFIXES)}")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no Ctrl-C fall between the files of one result: what has begun to be written is finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
