"""What a failure means at the command line: its exit code and its one sentence."""

import errno
from typing import NamedTuple

from cyclopts import CycloptsError, UnusedCliTokensError

from detrojan.errors import BadArgument, DetrojanError, UnknownName, out_of_memory

DONE, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130
_FULL = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing")


class Failure(NamedTuple):
    """An exit code with the sentence that goes to stderr."""

    code: int
    sentence: str


def explain(error: BaseException) -> Failure:
    """Turn whatever was raised into an exit code and a sentence."""
    text = _one_line(error)
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED, text or "Interrupted; nothing was written.")
    if isinstance(error, UnusedCliTokensError):
        return Failure(USAGE, f"{' '.join(error.unused_tokens or ())!r} is not expected here. {_see_help(error)}")
    if isinstance(error, CycloptsError):
        return Failure(USAGE, f"{text} {_see_help(error)}")
    if isinstance(error, DetrojanError):
        return Failure(USAGE if isinstance(error, BadArgument | UnknownName) else FAILED, text)
    if out_of_memory(error):
        return Failure(
            FAILED, "The memory is full; give fewer samples, a smaller batch, or --device cpu. Nothing was lost."
        )
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(sign in text for sign in _FULL):
        return Failure(FAILED, "The disk is full; make room or write elsewhere. What was half written is removed.")
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return Failure(FAILED, f"{where}{error.strerror}")
    return Failure(
        FAILED, f"Unexpected {type(error).__name__}: {text or 'no message'} (run again with --traceback to see where)"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _see_help(error: CycloptsError) -> str:
    verb = " ".join(error.command_chain or ())
    return f"See detrojan {verb + ' ' if verb else ''}--help."
