"""The README's figure: what each method leaves of the backdoors, and what it costs, with intervals.

    python benchmarks/figure.py strength-cifar10.jsonl      # writes strength-cifar10.svg here

Rows are those of a published file; means and intervals are those of the bench's tables (bootstrap over victims and
seeds), of attacked victims; methods stand in the order of their DER.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detrojan.bench.statistics import mean_over_victims
from detrojan.intervals import Estimate
from rows import published

HERE = Path(__file__).parent
OURS, OTHERS, MUTED = "#c2410c", "#475569", "#64748b"


def means(rows: list[dict]) -> dict[str, dict[str, Estimate]]:
    """By method: `asr`, `lost` and `der` in %, over the attacked victims."""
    victims = [row for row in rows if row["kind"] == "victim"]
    before = {(row["spec"]["shown"], row["spec"]["seed"]): row["result"]["acc"]["value"] for row in victims}
    groups: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        if row["kind"] == "cell" and "der" in row["result"]:
            spec, result = row["spec"], row["result"]
            found = groups[spec["shown"]]
            victim = spec["victim"]["shown"]
            found["asr"][victim].append(100 * result["asr"]["value"])
            found["der"][victim].append(100 * result["der"]["value"])
            found["lost"][victim].append(100 * (before[victim, spec["seed"]] - result["acc"]["value"]))
    return {
        name: {metric: mean_over_victims(list(by_victim.values())) for metric, by_victim in found.items()}
        for name, found in groups.items()
    }


def draw(found: dict[str, dict[str, Estimate]], path: Path, ours: str) -> None:
    """A row for each method, a panel for each figure."""
    names = sorted(found, key=lambda name: found[name]["der"].value)
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "detrojan", "font.family": "sans-serif"})
    figure = Figure(figsize=(9, 0.36 * len(names) + 1.1), facecolor="white")
    panels = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
    for axes, metric, title in zip(
        panels, ("asr", "lost"), ("ASR left, %", "clean accuracy lost, points"), strict=True
    ):
        _panel(axes, [found[name][metric] for name in names], [name == ours for name in names], title)
    panels[0].set_yticks(range(len(names)), names)
    for label, name in zip(panels[0].get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name == ours else "normal")
    figure.tight_layout(w_pad=2)
    figure.savefig(path, metadata={"Date": None})


def _panel(axes: Axes, estimates: list[Estimate], own: list[bool], title: str) -> None:
    for place, (estimate, ours) in enumerate(zip(estimates, own, strict=True)):
        colour = OURS if ours else OTHERS
        axes.hlines(place, estimate.low, estimate.high, color=colour, linewidth=2.5, alpha=0.45)
        axes.plot(estimate.value, place, "o", color=colour, markersize=7)
        axes.annotate(
            f"{estimate.value:.1f}",
            (estimate.value, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            size=8,
            color=colour,
        )
    axes.set_title(title, loc="left", fontsize=10, color=MUTED)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, len(estimates) - 0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x", color="#e2e8f0")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a file of rows in this folder")
    parser.add_argument("--ours", default="consistency_distil", help="the method that is made to stand out")
    arguments = parser.parse_args()
    source = HERE / arguments.rows
    draw(means(published(source)), source.with_suffix(".svg"), arguments.ours)
