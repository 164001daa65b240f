"""The figures of the bench's page."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from detrojan.intervals import Estimate
from detrojan.report.drawing import ACCENT, INK, LINE, MUTED, PAPER, TEXT, canvas, svg

_MARKERS = "osD^vPX<>p*hd"


def trade(points: Mapping[str, tuple[float, float]], across: str, up: str, *, width: int) -> Markup:
    """Named points, each with its name beside it; `across` and `up` tell what the axes are, and name the figure."""
    with canvas(width, 320, left=48, bottom=46) as (figure, axes):
        places = sorted(points.items(), key=lambda item: (item[1][1], item[1][0]))
        for index, (name, (x, y)) in enumerate(places):
            axes.scatter([x], [y], s=64, marker=_MARKERS[index % len(_MARKERS)], color=ACCENT, linewidth=0, zorder=3)
            near = any(abs(y - other) < 0.04 * _span(points, 1) for _, (_, other) in places[:index])
            axes.annotate(
                name, (x, y), (9, -13 if near else 4), textcoords="offset points", color=INK, parse_math=False
            )
        axes.margins(x=0.25, y=0.12)
        axes.grid(visible=True, axis="x", color=LINE, linewidth=1)
        axes.set_xlabel(across)
        axes.set_ylabel("")
        axes.set_title(up, loc="left", color=MUTED, fontsize=TEXT, x=-48 / max(1, width - 62))
        return svg(figure, f"{_letters(across)}{_letters(up)}{width}", f"{up} against {across}")


def _span(points: Mapping[str, tuple[float, float]], axis: int) -> float:
    values = [point[axis] for point in points.values()]
    return max(values) - min(values) or 1.0


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def bars(values: Mapping[str, Estimate], across: str, *, width: int) -> Markup:
    """A named bar for each share in [0, 1], with its interval as a line; `across` tells what is shown."""
    places, pitch = range(len(values)), 24
    shown = [100 * estimate.value for estimate in values.values()]
    with canvas(width, pitch * len(values) + 54, left=_room(values), bottom=42) as (figure, axes):
        axes.barh(places, shown, 0.62, color=ACCENT, alpha=0.75, linewidth=0)
        for place, estimate in zip(places, values.values(), strict=True):
            if estimate.low == estimate.low:
                axes.hlines(place, 100 * estimate.low, 100 * estimate.high, color=INK, linewidth=1.5)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, *shown))
        axes.set_yticks(places, list(values), parse_math=False)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=LINE, linewidth=1)
        axes.set_xlabel(across)
        return svg(figure, f"bars{_letters(across)}{width}", f"{across} by defense")


def strips(shares: Mapping[str, Sequence[float]], *, width: int) -> Markup:
    """How each defense's factors are spread over [0, 1]: a row of boxes, the darker the more of them lie there."""
    with canvas(width, 30 * len(shares) + 54, left=_room(shares), bottom=42) as (figure, axes):
        for place, bins in enumerate(shares.values()):
            for index, share in enumerate(bins):
                start, size = index / len(bins), 1 / len(bins)
                axes.barh(place, size * 0.94, 0.7, start, color=ACCENT, alpha=float(np.sqrt(share)), linewidth=0)
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_yticks(range(len(shares)), list(shares), parse_math=False)
        axes.grid(visible=False)
        axes.set_xlabel("factor: 0 removes a neuron, 1 leaves it")
        return svg(figure, f"strips{width}", "Distribution of the masks' factors by defense")


def clouds(name: str, charts: Mapping[str, object], target: int, *, width: int) -> Markup:
    """Two maps of test samples, before and after: diamonds carry the trigger, rings are clean ones of the target.

    `charts` is what a row holds: places `before` and `after`, true `labels`, and the number of `triggered` samples,
    which are the last ones.
    """
    labels, triggered = np.array(charts["labels"]), int(str(charts["triggered"]))
    with canvas(width, width * 0.52, left=4, bottom=26) as (figure, axes):
        axes.set_visible(False)
        for index, moment in enumerate(("before", "after")):
            spot = figure.add_axes((0.01 + 0.5 * index, 0.1, 0.48, 0.88))
            _cloud(spot, np.array(charts[moment], dtype=float), labels, triggered, target, small=width < 500)
            spot.set_xlabel(moment, color=MUTED)
        return svg(figure, f"clouds{_letters(name)}{width}", f"{name}: features before and after")


def _cloud(
    axes: Axes, places: NDArray[np.float64], labels: NDArray[np.int64], triggered: int, target: int, *, small: bool
) -> None:
    size = 6 if small else 14
    plain = places[:-triggered]
    of_target = labels[: len(plain)] == target
    others, ours, stamped = plain[~of_target], plain[of_target], places[-triggered:]
    axes.scatter(others[:, 0], others[:, 1], s=size, color=MUTED, alpha=0.55, linewidth=0)
    axes.scatter(ours[:, 0], ours[:, 1], s=2 * size, facecolor=PAPER, edgecolor=INK, linewidth=1)
    axes.scatter(stamped[:, 0], stamped[:, 1], s=2 * size, marker="D", color=ACCENT, alpha=0.8, linewidth=0)
    axes.patch.set_visible(False)
    axes.spines[:].set_color(LINE)
    axes.set_xticks([])
    axes.set_yticks([])


def _room(names: Mapping[str, object]) -> float:
    """The pixels that the longest name takes."""
    return 14 + 6.6 * max(map(len, names))
