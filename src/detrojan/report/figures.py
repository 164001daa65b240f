"""The page's figures as inline SVG, and its pictures as data URIs.

Figures are drawn at the size, in pixels, at which they are shown, in stand-in colours that become CSS variables of the
page, so that they follow its light or dark scheme. The same input gives the same bytes.
"""

import base64
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from detrojan.intervals import Estimate

PRUNED, INTACT = 0.01, 0.99
"""A factor at or below the one removes its neuron; at or above the other it leaves it as it was."""
BANDS = ((PRUNED, 1.0, "removed (at most 0.01)"), (0.5, 0.6, "up to 0.5"), (INTACT, 0.3, "0.5 to 0.99"))
"""Upper end, opacity and caption of the shades in `cut`, from the strongest."""
MANY_CLASSES = 50
"""Beyond this many classes `per_class` has columns without names in place of named rows."""
THUMBNAIL = 96
"""Pictures with a longer side than this many pixels are made smaller."""

_INK, _MUTED, _LINE, _ACCENT, _PAPER = "#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _LINE: "--line", _ACCENT: "--accent", _PAPER: "--surface"}
_TEXT = 12.0
_MARKERS = "osD^vPX<>p*hd"


def loss(losses: Sequence[float], *, width: int) -> Markup:
    """The loss of each step, faint, under its running mean; `width` in pixels."""
    values, steps = np.array(losses), np.arange(1, len(losses) + 1)
    starts = np.maximum(steps - max(5, len(losses) // 25), 0)
    sums = np.concatenate([[0.0], values.cumsum()])
    with _canvas(width, 220, left=44, bottom=42) as (figure, axes):
        axes.plot(steps, values, color=_ACCENT, alpha=0.3, linewidth=1, marker="o" if len(values) == 1 else "")
        axes.plot(steps, (sums[steps] - sums[starts]) / (steps - starts), color=_ACCENT, linewidth=2)
        axes.set_xlim(1, max(2, len(values)))
        axes.set_ylim(bottom=min(0.0, float(values.min())))
        axes.xaxis.set_major_locator(MaxNLocator(5 if width < 500 else 9, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("step")
        return _svg(figure, f"loss{width}", "Loss by step")


def cut(masks: Mapping[str, Tensor], *, width: int) -> Markup:
    """The share of each layer's factors below 0.99, in shades by strength, from the first layer to the last."""
    below = np.array([[100 * share(mask, end) for end, _, _ in BANDS] for mask in masks.values()])
    count, places = len(below), range(1, len(below) + 1)
    with _canvas(width, 220, left=44, bottom=42) as (figure, axes):
        bottom = np.zeros(count)
        axes.bar(places, below[:, -1], 0.72, color=_PAPER, linewidth=0)
        for (_, opacity, _), top in zip(BANDS, below.T, strict=True):
            axes.bar(places, top - bottom, 0.72, bottom, color=_ACCENT, alpha=opacity, linewidth=0)
            bottom = top
        slack = max(0.0, (12 - count) / 2)
        axes.set_xlim(0.4 - slack, count + 0.6 + slack)
        axes.set_ylim(0, min(100.0, max(5.0, 1.15 * float(below.max()))))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        ticks = MaxNLocator(6 if width < 500 else 12, integer=True).tick_values(1, count)
        axes.set_xticks([tick for tick in ticks if 1 <= tick <= count])
        axes.set_xlabel("layer, from input to output")
        return _svg(figure, f"cut{width}", "Share of each layer that was weakened or removed")


def share(mask: Tensor, bound: float) -> float:
    """The share of a mask's factors at or below `PRUNED`, or strictly below any other `bound`."""
    hits = mask <= bound if bound == PRUNED else mask < bound
    return float(hits.double().mean()) if mask.numel() else 0.0


def per_class(
    before: Mapping[int, Estimate], after: Mapping[int, Estimate], names: Mapping[int, str], *, width: int
) -> Markup:
    """Accuracy by class, before (ring) and after (dot): named rows, or columns by loss where there are many classes."""
    labels = sorted(before.keys() & after.keys())
    if len(labels) > MANY_CLASSES:
        labels.sort(key=lambda label: (round(after[label].value - before[label].value, 6), after[label].value, label))
    ends = [(100 * before[label].value, 100 * after[label].value) for label in labels]
    draw = _columns if len(labels) > MANY_CLASSES else _rows
    return draw(ends, [_short(names.get(label, f"class {label}")) for label in labels], width)


def _rows(ends: list[tuple[float, float]], names: list[str], width: int) -> Markup:
    places, pitch = range(len(ends)), 22 if len(ends) <= 20 else 17
    left = 14 + 6.6 * max(sum(2 if ord(letter) > 0x2E7F else 1 for letter in name) for name in names)
    with _canvas(width, pitch * len(ends) + 44, left=left, bottom=28) as (figure, axes):
        axes.hlines(places, *zip(*ends, strict=True), color=_ACCENT, alpha=0.35, linewidth=3)
        axes.scatter([b for b, _ in ends], places, s=42, facecolor=_PAPER, edgecolor=_MUTED, linewidth=1.5, zorder=3)
        axes.scatter([a for _, a in ends], places, s=26, color=_ACCENT, linewidth=0, zorder=4)
        axes.set_ylim(len(ends) - 0.4, -0.6)
        axes.set_yticks(places, names, parse_math=False)
        _percent(axes, "x", min(map(min, ends)))
        return _svg(figure, f"classes{width}", "Accuracy by class, before and after")


def _columns(ends: list[tuple[float, float]], names: list[str], width: int) -> Markup:
    places, size = range(1, len(ends) + 1), max(1.5, min(5.0, 0.55 * width / len(ends)))
    with _canvas(width, 240, left=44, bottom=42) as (figure, axes):
        axes.vlines(places, *zip(*ends, strict=True), color=_ACCENT, alpha=0.35, linewidth=size / 2)
        axes.scatter(
            places, [b for b, _ in ends], s=size**2, facecolor="none", edgecolor=_MUTED, linewidth=0.8, zorder=3
        )
        axes.scatter(places, [a for _, a in ends], s=size**2, color=_ACCENT, linewidth=0, zorder=4)
        axes.set_xlim(0, len(ends) + 1)
        axes.set_xticks([1, len(ends)], ["1", str(len(ends))])
        axes.set_xlabel("classes, those that lost most first")
        _percent(axes, "y", min(map(min, ends)))
        return _svg(figure, f"classes{width}", f"Accuracy of {len(names)} classes, before and after")


def trade(points: Mapping[str, tuple[float, float]], across: str, up: str, *, width: int) -> Markup:
    """Named points, each with its name beside it; `across` and `up` tell what the axes are, and name the figure."""
    with _canvas(width, 320, left=48, bottom=46) as (figure, axes):
        places = sorted(points.items(), key=lambda item: (item[1][1], item[1][0]))
        for index, (name, (x, y)) in enumerate(places):
            axes.scatter([x], [y], s=64, marker=_MARKERS[index % len(_MARKERS)], color=_ACCENT, linewidth=0, zorder=3)
            near = any(abs(y - other) < 0.04 * _span(points, 1) for _, (_, other) in places[:index])
            axes.annotate(
                name, (x, y), (9, -13 if near else 4), textcoords="offset points", color=_INK, parse_math=False
            )
        axes.margins(x=0.25, y=0.12)
        axes.grid(visible=True, axis="x", color=_LINE, linewidth=1)
        axes.set_xlabel(across)
        axes.set_ylabel("")
        axes.set_title(up, loc="left", color=_MUTED, fontsize=_TEXT, x=-48 / max(1, width - 62))
        return _svg(figure, f"{_letters(across)}{_letters(up)}{width}", f"{up} against {across}")


def _span(points: Mapping[str, tuple[float, float]], axis: int) -> float:
    values = [point[axis] for point in points.values()]
    return max(values) - min(values) or 1.0


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def picture(image: Tensor, *, low: float = 0.0, high: float = 1.0) -> str:
    """A PNG data URI of an image (C, H, W) with 1 or 3 channels: bytes as they are, floats scaled from [low, high]."""
    if image.dtype != torch.uint8:
        image = ((image.float() - low) / max(high - low, 1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    pixels = image.permute(1, 2, 0).cpu().numpy()
    shown = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    shown.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@contextmanager
def _canvas(width: int, height: float, *, left: float, bottom: float) -> Iterator[tuple[Figure, Axes]]:
    """Axes with margins in pixels and light grid lines, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the letters that matplotlib's own font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "detrojan", "font.size": _TEXT})
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        spot = (left / width, bottom / height, (width - left - 14) / width, (height - bottom - 10) / height)
        axes = figure.add_axes(spot)
        axes.patch.set_visible(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, pad=6, colors=_MUTED, labelcolor=_MUTED)
        axes.xaxis.label.set_color(_MUTED)
        axes.grid(visible=True, axis="y", color=_LINE, linewidth=1)
        axes.set_axisbelow(True)
        yield figure, axes


def _percent(axes: Axes, side: str, lowest: float) -> None:
    """An axis from a round number below the lowest value to 100 %, the only one with grid lines."""
    start = 0 if lowest < 50 else 50 if lowest < 80 else 80
    margin = 0.03 * (100 - start)
    (axes.set_xlim if side == "x" else axes.set_ylim)(start - margin, 100 + margin)
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(range(start, 101, {0: 25, 50: 10, 80: 5}[start]))
    axis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.grid(visible=False)
    axis.grid(visible=True, color=_LINE, linewidth=1)


def _short(name: str, limit: int = 20) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _svg(figure: Figure, name: str, title: str) -> Markup:
    """The drawing alone: no declarations, no metadata, ids that begin with `name`, colours and font from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r">\s+<", ">\n<", text.replace("xlink:href", "href"))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head = f'<svg role="img" aria-label="{title}" viewBox="0 0 {figure.bbox.width:g} {figure.bbox.height:g}">'
    return Markup(re.sub(r"<svg[^>]*>", head, text, count=1).strip())  # noqa: S704 - matplotlib escapes its texts
