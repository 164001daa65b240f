"""The page of a bench: which defense leaves what, on which victims, at what cost; it sorts and filters itself."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from detrojan.bench.store import Row
from detrojan.bench.tables import VICTIM, Entry, Place, Table, columns_of, mean_costs
from detrojan.report import bench_figures as figures
from detrojan.report.templates import both_widths, environment, versions
from detrojan.weight_files import check_target
from detrojan.whole_files import write_text

FEW = 4
"""Up to so many defenses, the figure of ASR against accuracy says all that bars would."""


def write(table: Table, rows: Mapping[str, Row], path: Path, *, command: str = "", force: bool = False) -> Path:
    """Write the page whole; it holds all that it shows and loads nothing.

    Args:
        table: the table of a grid.
        rows: the rows by key, for the source of each figure.
        path: the file to write, `.html` by custom.
        command: the command line that makes the rows.
        force: replace a file that is there.

    Raises:
        BadArgument: the path exists and `force` is not given, or its folder does not exist.
    """
    check_target(path, force=force)
    return write_text(path, render(table, rows, command=command))


def render(table: Table, rows: Mapping[str, Row], *, command: str = "") -> str:
    """The page as text."""
    places = {entry.place: entry for entry in table.entries}
    sections = [_section(table, places, clean, rows) for clean in table.cleans]
    behind = [entry.keys for entry in table.entries]
    behind += [neighbour.keys for sensitivity in table.sensitivities for neighbour in sensitivity.neighbours]
    used = [rows[key] for keys in behind for key in keys if key in rows]
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            table=table,
            sections=sections,
            sources=list({row.key: row for row in used}.values()),
            commits=sorted({str(row.origin.get("commit") or row.origin.get("version", "")) for row in used}),
            dates=sorted({str(row.origin.get("date", "")) for row in used}),
            command=command,
            versions=versions(),
        )
    )


def _section(table: Table, places: Mapping[Place, Entry], clean: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """What is shown of one kind and number of clean samples."""
    summaries = [summary for summary in table.summaries if summary.clean == clean]
    costs = {s.defense: _mean_cost(places, clean, s.defense) for s in summaries}
    defenses = table.defenses_with(clean)
    lines = [
        {"victim": v, "entries": [places.get(Place(victim=v, clean=clean, defense=d)) for d in defenses]}
        for v in table.victims
    ]
    return {
        "clean": clean,
        "defenses": defenses,
        "summaries": summaries,
        "columns": columns_of(summaries),
        "costs": costs,
        "lines": [line for line in lines if any(line["entries"])],
        "left": _trade(summaries, "lost", "asr", "accuracy lost, points", "ASR left, %"),
        "price": _price(summaries, costs),
        "bars": _bars(summaries),
        "strips": _strips(places, clean),
        "clouds": _clouds(places, clean, rows),
        "sensitivities": [found for found in table.sensitivities if found.clean == clean],
    }


def _trade(summaries: list[Any], x: str, y: str, across: str, up: str) -> Any:
    points = {
        s.defense: (100 * s.figures[x].value, 100 * s.figures[y].value)
        for s in summaries
        if x in s.figures and y in s.figures
    }
    return both_widths(figures.trade, points, across, up) if points else None


def _price(summaries: list[Any], costs: Mapping[str, Mapping[str, float]]) -> Any:
    points = {
        s.defense: (costs[s.defense]["seconds"], s.figures["der"].value)
        for s in summaries
        if s.defense != VICTIM and "der" in s.figures and costs[s.defense]
    }
    return both_widths(figures.trade, points, "seconds for a purification", "DER") if points else None


def _bars(summaries: list[Any]) -> Any:
    """What is left by each defense, for tables of many that stand close together."""
    left = {s.defense: s.figures["asr"] for s in summaries if "asr" in s.figures}
    return both_widths(figures.bars, left, "ASR left, %") if len(left) > FEW else None


def _strips(places: Mapping[Place, Entry], clean: str) -> Any:
    """The masks of each defense that has some, over all victims."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for place, entry in places.items():
        if place.clean == clean and entry.masks:
            found.setdefault(place.defense, []).append(entry.masks)
    shares = {name: [mean(bins) for bins in zip(*masks, strict=True)] for name, masks in found.items()}
    return both_widths(figures.strips, shares) if shares else None


def _clouds(places: Mapping[Place, Entry], clean: str, rows: Mapping[str, Row]) -> list[tuple[str, Any]]:
    """The maps of the first row of each entry that has some."""
    found = []
    for place, entry in places.items():
        charted = [rows[key] for key in entry.keys if "charts" in rows[key].result] if place.clean == clean else []
        if charted:
            name, target = f"{place.victim}, {place.defense}", charted[0].spec["victim"]["target"]
            found.append((name, both_widths(figures.clouds, name, charted[0].result["charts"], target)))
    return found


def _mean_cost(places: Mapping[Place, Entry], clean: str, defense: str) -> dict[str, float]:
    found = [e.cost for p, e in places.items() if p.clean == clean and p.defense == defense and e.cost]
    return mean_costs(found)
