"""The error tree: the type tells the reader what to do next, the sentence tells them how.

Every message names the file or argument, the rule, the value found and the next step.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


class DetrojanError(Exception):
    """Any problem that Detrojan reports in one sentence; catch this to catch them all."""


class BadArgument(DetrojanError, ValueError):
    """The call is wrong: a value is out of its range or two settings contradict each other."""


class UnknownName(DetrojanError, LookupError):
    """No method, data set or architecture has this name; the message says which ones are near."""


class BadFile(DetrojanError, ValueError):
    """A file is damaged, unsafe, or not of a format that Detrojan reads; it was not changed."""


class BadWeights(DetrojanError, ValueError):
    """The weights do not fit the architecture, or hold values that no trained network has."""


class BadData(DetrojanError, ValueError):
    """The samples cannot serve: wrong shape, missing labels, a single class, none at all."""


class Unsupported(DetrojanError, NotImplementedError):
    """The network has nothing that this method can work on; the message names one that can."""


class MissingExtra(DetrojanError, ImportError):
    """An optional library is needed; the message holds the install command."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Build the error for a name that is not in `known`, with the nearest one as a suggestion."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return UnknownName(f"no {kind} {name!r}{hint} Known: {', '.join(names) or '(none)'}")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory is full; torch has no one type for that, but its sentences do."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _MEMORY)
