"""A grid's rows as a table: victims down, defenses across, the paper's figures beside ours."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import mean
from typing import Any

from detrojan.bench.cells import Cell
from detrojan.bench.grid import Grid
from detrojan.bench.sensitivity import Sensitivity, sensitivities
from detrojan.bench.statistics import Difference, against, mean_of, mean_over_victims
from detrojan.bench.store import Row, Store
from detrojan.intervals import Estimate

VICTIM = "No Defense"
BASE = "NFT"
METRICS = (
    *("acc", "asr", "ra", "der", "lost", "retuned", "reactivated", "perturbed"),
    *("oracle_acc", "oracle_asr"),
)
SHOWN = {
    "asr": "ASR left",
    "lost": "ACC lost",
    "ra": "RA",
    "der": "DER",
    "retuned": "Retuned",
    "reactivated": "Reactivated",
    "oracle_asr": "ASR, oracle",
    "oracle_acc": "ACC, oracle",
}
"""The columns of the means, by metric; a table has those for which it has figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an entry stands: the victim as the grid shows it, the clean samples, the defense."""

    victim: str
    clean: str
    defense: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A defense on a victim, over the seeds.

    `figures` are shares in [0, 1] by metric: `acc`, `asr`, `ra`, `der`, `lost` (the victim's ACC less the defense's on
    the same seed), and those of `detrojan.evaluation.hardness`. `cost` has means by name, `keys` the rows behind them.
    `masks` is the share of all factors in equal bins over [0, 1], empty where there are no masks. `refused` is the
    sentence of a defense that does not serve this victim. `paper` has the published `asr` and `acc`,
    in [0, 1].
    """

    place: Place
    figures: Mapping[str, Estimate]
    cost: Mapping[str, float]
    keys: tuple[str, ...]
    masks: tuple[float, ...]
    refused: str
    paper: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A defense over all attacked victims: means by metric, DER against NFT, and what it costs a benign network."""

    defense: str
    clean: str
    figures: Mapping[str, Estimate]
    benign_lost: Estimate | None
    against_base: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All that a page or a document shows of a grid. `missing` is the number of its cells without a row."""

    name: str
    title: str
    victims: tuple[str, ...]
    cleans: tuple[str, ...]
    defenses: tuple[str, ...]
    entries: tuple[Entry, ...]
    summaries: tuple[Summary, ...]
    sensitivities: tuple[Sensitivity, ...]
    missing: int
    metric: str = "ACC"

    def defenses_with(self, clean: str) -> tuple[str, ...]:
        """The defenses that have an entry with these clean samples."""
        found = {entry.place.defense for entry in self.entries if entry.place.clean == clean}
        return tuple(name for name in self.defenses if name in found)


def tabulate(grid: Grid, store: Store) -> Table:
    """Make the table of a grid from the rows that a store has by now."""
    rows = {row.key: row for row in store}
    groups: dict[Place, list[tuple[Cell, Row]]] = defaultdict(list)
    missing = 0
    for cell in grid.cells:
        row, victim = rows.get(cell.key), rows.get(cell.victim.key)
        name, clean = shown_victim(cell), str(cell.clean)
        place = Place(victim=name, clean=clean, defense=VICTIM)
        if victim is not None and all(r.key != victim.key for _, r in groups[place]):
            groups[place].append((cell, victim))
        if row is None:
            missing += 1
        if row is None or cell.around:
            continue
        groups[Place(victim=name, clean=clean, defense=cell.shown or cell.defense)].append((cell, row))
    entries = {place: _entry(place, found, rows, grid.paper) for place, found in groups.items() if found}
    defenses = tuple(dict.fromkeys(place.defense for place in entries))
    cleans = tuple(dict.fromkeys(place.clean for place in entries))
    by_seed = {place: _by_seed(found, rows) for place, found in groups.items() if found}
    return Table(
        name=grid.name,
        title=grid.title,
        victims=tuple(dict.fromkeys(place.victim for place in entries)),
        cleans=cleans,
        defenses=defenses,
        entries=tuple(entries.values()),
        summaries=tuple(s for clean in cleans for s in _summaries(clean, defenses, by_seed)),
        sensitivities=sensitivities(grid.cells, rows),
        missing=missing,
        metric=_metric(rows[key] for key in grid.keys & rows.keys()),
    )


def _metric(rows: Iterable[Row]) -> str:
    """What the clean score of the grid's task is called."""
    return next((str(row.result["metric"]) for row in rows if "metric" in row.result), "ACC")


def shown_victim(cell: Cell) -> str:
    """The victim's name in tables; a poison rate that is not the attack's own stands beside it."""
    spec = cell.victim
    name = spec.shown or spec.attack or "Benign"
    return name if spec.poison_rate is None else f"{name}, {100 * spec.poison_rate:g} %"


def _entry(place: Place, found: list[tuple[Cell, Row]], rows: Mapping[str, Row], paper: str) -> Entry:
    results = [row.result for _, row in found]
    refusals = [str(r["refused"]) for r in results if "refused" in r]
    figures = {metric: mean_of(values) for metric, values in _by_metric(found, rows).items() if values}
    costs = [_cost(r) for r in results if "refused" not in r]
    return Entry(
        place=place,
        figures=figures,
        cost=mean_costs(costs),
        keys=tuple(row.key for _, row in found),
        masks=_shares([r["masks"] for r in results if "masks" in r]),
        refused=refusals[0] if refusals else "",
        paper=_published(paper, place),
    )


def _shares(counts: list[list[int]]) -> tuple[float, ...]:
    """The mean over rows of the share of factors in each bin."""
    return tuple(mean(bins) for bins in zip(*([n / sum(row) for n in row] for row in counts), strict=True))


def _by_metric(found: list[tuple[Cell, Row]], rows: Mapping[str, Row]) -> dict[str, list[float]]:
    """The figures of all seeds that have them, by metric."""
    figures: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for seed_figures in _by_seed(found, rows).values():
        for metric, value in seed_figures.items():
            figures[metric].append(value)
    return figures


def _by_seed(found: list[tuple[Cell, Row]], rows: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    """The figures of each row, by the key of its victim and its seed."""
    by_seed = {}
    for cell, row in found:
        if "refused" in row.result:
            continue
        figures = {metric: row.result[metric]["value"] for metric in METRICS if metric in row.result}
        if row.kind == "cell" and (before := _before(row, rows.get(cell.victim.key))) is not None:
            figures["lost"] = before - figures["acc"]
        by_seed[f"{cell.victim.key} {cell.seed}"] = figures
    return by_seed


def _before(row: Row, victim: Row | None) -> float | None:
    """The clean score of the very victim that a cell purified; of older rows, that of its victim's row."""
    if "before" in row.result:
        return float(row.result["before"]["acc"])
    return None if victim is None else float(victim.result["acc"]["value"])


def _summaries(
    clean: str, defenses: tuple[str, ...], by_seed: Mapping[Place, dict[str, dict[str, float]]]
) -> list[Summary]:
    """One line a defense: the attacked victims that all of its seeds speak of, and the benign ones apart."""
    groups: dict[str, list[dict[str, dict[str, float]]]] = defaultdict(list)
    ders: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    benign: dict[str, list[float]] = defaultdict(list)
    for place, seeds in by_seed.items():
        if place.clean != clean:
            continue
        if any("asr" in figures for figures in seeds.values()):
            groups[place.defense].append(seeds)
            if place.defense != VICTIM:
                ders[place.defense][place.victim] = {key: f["der"] for key, f in seeds.items() if "der" in f}
        else:
            benign[place.defense] += [figures["lost"] for figures in seeds.values() if "lost" in figures]
    others = {name: ders[name] for name in defenses if name in ders and name != BASE}
    differences = against(ders[BASE], others) if BASE in ders else []
    to_base = {difference.name: difference for difference in differences}
    return [
        Summary(
            defense=name,
            clean=clean,
            figures=_means(groups[name]),
            benign_lost=mean_of(benign[name]) if benign[name] else None,
            against_base=to_base.get(name),
        )
        for name in defenses
        if groups[name] or benign[name]
    ]


def _means(groups: list[dict[str, dict[str, float]]]) -> dict[str, Estimate]:
    """The means over victims, each a dict of figures by seed, of the metrics that are known."""
    values = {metric: [[f[metric] for f in seeds.values() if metric in f] for seeds in groups] for metric in METRICS}
    return {metric: mean_over_victims(found) for metric, found in values.items() if any(found)}


def _cost(result: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in result["cost"].items()} if "cost" in result else {"seconds": result["seconds"]}


def mean_costs(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means by name, each over those that know it."""
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: mean(cost[name] for cost in costs if name in cost) for name in names}


def _published(paper: str, place: Place) -> Mapping[str, float]:
    """The paper's figures for a place; its table counts clean samples, or does not say how many."""
    found = _paper(paper)
    return found.get((place.victim, place.defense, place.clean)) or found.get((place.victim, place.defense, "")) or {}


@cache
def _paper(name: str) -> dict[tuple[str, str, str], dict[str, float]]:
    """`asr` and `acc` in [0, 1] by victim, defense and number of samples, of `TABLE` or `TABLE/DATASET`.

    A victim is named by its attack or, where a table has one attack on several data sets, by its data set.
    """
    table, _, dataset = name.partition("/")
    with (files("detrojan.bench") / "paper_tables.csv").open() as file:
        return {
            (row[by], row["defense"], row["samples"]): {"asr": float(row["asr"]) / 100, "acc": float(row["acc"]) / 100}
            for row in csv.DictReader(file)
            if row["table"] == table and dataset in ("", row["dataset"])
            for by in ("dataset", "attack")
        }


def markdown(table: Table) -> str:
    """The table as Markdown: ASR / ACC in %, the paper's figures in brackets, then the means."""
    lines = [f"# {table.title}", ""]
    if table.metric != "ACC":
        lines += [f"ACC stands for {table.metric} here.", ""]
    places = {entry.place: entry for entry in table.entries}
    for clean in table.cleans:
        lines += [f"## {clean} clean samples", "", "ASR / ACC in %, means over the seeds; the paper's in brackets.", ""]
        here = table.defenses_with(clean)
        lines += _header(["", *here])
        for victim in table.victims:
            cells = [places.get(Place(victim=victim, clean=clean, defense=defense)) for defense in here]
            lines.append(f"| {victim} | {' | '.join(map(_told, cells))} |")
        lines += ["", *_summary_lines([s for s in table.summaries if s.clean == clean]), ""]
        for sensitivity in (s for s in table.sensitivities if s.clean == clean):
            lines += [*_sensitivity_lines(sensitivity), ""]
    if table.missing:
        lines += [f"{table.missing} cells of this grid have no row yet.", ""]
    return "\n".join(lines)


def _header(names: list[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _told(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    if entry.refused and not entry.figures:
        return "refused"
    ours = " / ".join(f"{100 * entry.figures[m].value:.1f}" for m in ("asr", "acc") if m in entry.figures)
    paper = entry.paper
    return ours if not paper else f"{ours} ({100 * paper['asr']:.1f} / {100 * paper['acc']:.1f})"


def columns_of(summaries: Sequence[Summary]) -> dict[str, str]:
    """The titles of the means that any of the defenses has, by metric."""
    return {metric: title for metric, title in SHOWN.items() if any(metric in s.figures for s in summaries)}


def _summary_lines(summaries: list[Summary]) -> list[str]:
    columns = columns_of(summaries)
    lines = [
        "Means over the attacked victims, with 95 % intervals (bootstrap over victims and seeds); DER against NFT by",
        "pairs, q after control of the false discovery rate.",
        "",
        *_header(["defense", *columns.values(), "benign ACC lost", "DER against NFT", "q"]),
    ]
    for summary in summaries:
        cells = [_with_interval(summary.figures.get(metric)) for metric in columns]
        to_base = summary.against_base
        cells += [
            _with_interval(summary.benign_lost),
            _with_interval(to_base.difference if to_base else None),
            f"{to_base.q:.3f}" if to_base else "-",
        ]
        lines.append(f"| {summary.defense} | {' | '.join(cells)} |")
    return lines


def _sensitivity_lines(sensitivity: Sensitivity) -> list[str]:
    found = sensitivity.neighbours
    lines = [
        f"Around {sensitivity.defense}: {sum(n.stays for n in found)} of {len(found)} settings lose at most 2 points",
        "of ACC and leave at most 5 points more ASR. Differences to the default in points, over victims and seeds.",
        "",
        *_header(["setting", "ACC", "ASR", "stays"]),
    ]
    for one in found:
        name = one.name.removeprefix(f"{sensitivity.defense}, ")
        told = f"{100 * one.acc.value:+.1f} | {100 * one.asr.value:+.1f} | {'yes' if one.stays else 'no'}"
        lines.append(f"| {name} | {told} |")
    return lines


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.count == 0:
        return "-"
    value = f"{100 * estimate.value:.1f}"
    return value if estimate.low != estimate.low else f"{value} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
