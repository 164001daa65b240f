"""Numbers as the page shows them."""

from collections.abc import Callable, Sequence
from typing import Any

from detrojan.intervals import Estimate


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f}\u00a0%"


def points(value: float) -> str:
    """A difference of shares, signed, in percentage points."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def plain(value: float) -> str:
    """Two decimals."""
    return f"{value:.2f}"


def interval(estimate: Estimate, scale: float = 100, digits: int = 1) -> str:
    """The ends of an interval, in percent unless `scale` says otherwise."""
    low, high = (f"{scale * value + 0.0:.{digits}f}" for value in (estimate.low, estimate.high))
    return f"{low}\u2013{high}" if estimate.low >= 0 else f"{low} to {high}".replace("-", "\u2212")


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes}\u00a0min {rest:02d}\u00a0s"
        if minutes < 60
        else f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"
    )


def positions(indices: Sequence[int]) -> str:
    """Sorted positions with runs joined: 0-3, 7, 9-10."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return ", ".join("\u2013".join(str(end) for end in run) for run in runs)


def setting(value: object) -> str:
    """A setting's value, floats without needless digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


FILTERS: dict[str, Callable[..., Any]] = {
    format_.__name__: format_ for format_ in (percent, points, plain, interval, duration, positions, setting)
}
"""The page's template filters by name."""
