"""The figures of a purification's page, and its pictures as data URIs."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from detrojan.intervals import Estimate
from detrojan.report.drawing import ACCENT, LINE, MUTED, PAPER, canvas, svg

PRUNED, INTACT = 0.01, 0.99
"""A factor at or below the one removes its neuron; at or above the other it leaves it as it was."""
BANDS = ((PRUNED, 1.0, "removed (at most 0.01)"), (0.5, 0.6, "up to 0.5"), (INTACT, 0.3, "0.5 to 0.99"))
"""Upper end, opacity and caption of the shades in `cut`, from the strongest."""
MANY_CLASSES = 50
"""Beyond this many classes `per_class` has columns without names in place of named rows."""
THUMBNAIL = 96
"""Pictures with a longer side than this many pixels are made smaller."""


def loss(losses: Sequence[float], *, width: int) -> Markup:
    """The loss of each step, faint, under its running mean; `width` in pixels."""
    values, steps = np.array(losses), np.arange(1, len(losses) + 1)
    starts = np.maximum(steps - max(5, len(losses) // 25), 0)
    sums = np.concatenate([[0.0], values.cumsum()])
    with canvas(width, 220, left=44, bottom=42) as (figure, axes):
        axes.plot(steps, values, color=ACCENT, alpha=0.3, linewidth=1, marker="o" if len(values) == 1 else "")
        axes.plot(steps, (sums[steps] - sums[starts]) / (steps - starts), color=ACCENT, linewidth=2)
        axes.set_xlim(1, max(2, len(values)))
        axes.set_ylim(bottom=min(0.0, float(values.min())))
        axes.xaxis.set_major_locator(MaxNLocator(5 if width < 500 else 9, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("step")
        return svg(figure, f"loss{width}", "Loss by step")


def cut(masks: Mapping[str, Tensor], *, width: int) -> Markup:
    """The share of each layer's factors below 0.99, in shades by strength, from the first layer to the last."""
    below = np.array([[100 * share(mask, end) for end, _, _ in BANDS] for mask in masks.values()])
    count, places = len(below), range(1, len(below) + 1)
    with canvas(width, 220, left=44, bottom=42) as (figure, axes):
        bottom = np.zeros(count)
        axes.bar(places, below[:, -1], 0.72, color=PAPER, linewidth=0)
        for (_, opacity, _), top in zip(BANDS, below.T, strict=True):
            axes.bar(places, top - bottom, 0.72, bottom, color=ACCENT, alpha=opacity, linewidth=0)
            bottom = top
        slack = max(0.0, (12 - count) / 2)
        axes.set_xlim(0.4 - slack, count + 0.6 + slack)
        axes.set_ylim(0, min(100.0, max(5.0, 1.15 * float(below.max()))))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        ticks = MaxNLocator(6 if width < 500 else 12, integer=True).tick_values(1, count)
        axes.set_xticks([tick for tick in ticks if 1 <= tick <= count])
        axes.set_xlabel("layer, from input to output")
        return svg(figure, f"cut{width}", "Share of each layer that was weakened or removed")


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
    with canvas(width, pitch * len(ends) + 44, left=left, bottom=28) as (figure, axes):
        axes.hlines(places, *zip(*ends, strict=True), color=ACCENT, alpha=0.35, linewidth=3)
        axes.scatter([b for b, _ in ends], places, s=42, facecolor=PAPER, edgecolor=MUTED, linewidth=1.5, zorder=3)
        axes.scatter([a for _, a in ends], places, s=26, color=ACCENT, linewidth=0, zorder=4)
        axes.set_ylim(len(ends) - 0.4, -0.6)
        axes.set_yticks(places, names, parse_math=False)
        _percent(axes, "x", min(map(min, ends)))
        return svg(figure, f"classes{width}", "Accuracy by class, before and after")


def _columns(ends: list[tuple[float, float]], names: list[str], width: int) -> Markup:
    places, size = range(1, len(ends) + 1), max(1.5, min(5.0, 0.55 * width / len(ends)))
    with canvas(width, 240, left=44, bottom=42) as (figure, axes):
        axes.vlines(places, *zip(*ends, strict=True), color=ACCENT, alpha=0.35, linewidth=size / 2)
        axes.scatter(
            places, [b for b, _ in ends], s=size**2, facecolor="none", edgecolor=MUTED, linewidth=0.8, zorder=3
        )
        axes.scatter(places, [a for _, a in ends], s=size**2, color=ACCENT, linewidth=0, zorder=4)
        axes.set_xlim(0, len(ends) + 1)
        axes.set_xticks([1, len(ends)], ["1", str(len(ends))])
        axes.set_xlabel("classes, those that lost most first")
        _percent(axes, "y", min(map(min, ends)))
        return svg(figure, f"classes{width}", f"Accuracy of {len(names)} classes, before and after")


def picture(
    image: Tensor, *, low: float = 0.0, high: float = 1.0, limit: tuple[int, int] = (THUMBNAIL, THUMBNAIL)
) -> str:
    """A PNG data URI of an image (C, H, W) with 1 or 3 channels: bytes as they are, floats scaled from [low, high].

    An image that is wider or higher than `limit`, in pixels, is scaled down.
    """
    if image.dtype != torch.uint8:
        image = ((image.float() - low) / max(high - low, 1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    pixels = image.permute(1, 2, 0).cpu().numpy()
    shown = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    shown.thumbnail(limit)
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _percent(axes: Axes, side: str, lowest: float) -> None:
    """An axis from a round number below the lowest value to 100 %, the only one with grid lines."""
    start = 0 if lowest < 50 else 50 if lowest < 80 else 80
    margin = 0.03 * (100 - start)
    (axes.set_xlim if side == "x" else axes.set_ylim)(start - margin, 100 + margin)
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(range(start, 101, {0: 25, 50: 10, 80: 5}[start]))
    axis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.grid(visible=False)
    axis.grid(visible=True, color=LINE, linewidth=1)


def _short(name: str, limit: int = 20) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
