"""How much a defense hangs on its settings: its neighbours in a grid, each with one setting changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detrojan.bench.cells import Cell
from detrojan.bench.statistics import mean_of
from detrojan.bench.store import Row
from detrojan.intervals import Estimate

MOST_ACC_LOST = 0.02
MOST_ASR_MORE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A defense with one setting changed, against the same without, on the same victims and seeds.

    `acc` and `asr` are mean differences in [-1, 1] over the attacked victims, `keys` the rows behind them. The
    neighbour `stays` where it loses at most 2 points of ACC and leaves at most 5 points more ASR.
    """

    name: str
    acc: Estimate
    asr: Estimate
    keys: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether a user who had chosen this setting would hardly notice."""
        return self.acc.value >= -MOST_ACC_LOST and self.asr.value <= MOST_ASR_MORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The neighbourhood of a defense that a grid states."""

    defense: str
    clean: str
    neighbours: tuple[Neighbour, ...]

    @property
    def share(self) -> float:
        """The share of the neighbours that stay, in [0, 1]."""
        return sum(neighbour.stays for neighbour in self.neighbours) / len(self.neighbours)


def sensitivities(cells: Sequence[Cell], rows: Mapping[str, Row]) -> tuple[Sensitivity, ...]:
    """What the rows say of every neighbourhood; neighbours without a row beside the default's are left out."""
    defaults = {_place(cell, cell.shown): rows[cell.key] for cell in cells if not cell.around and cell.key in rows}
    pairs: dict[tuple[str, str], dict[str, list[tuple[Row, Row]]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        row, default = rows.get(cell.key), defaults.get(_place(cell, cell.around))
        if cell.around and row is not None and default is not None and "asr" in row.result and "asr" in default.result:
            pairs[cell.around, str(cell.clean)][cell.shown].append((row, default))
    return tuple(
        Sensitivity(
            defense=defense,
            clean=clean,
            neighbours=tuple(
                Neighbour(
                    name=name,
                    acc=_difference(both, "acc"),
                    asr=_difference(both, "asr"),
                    keys=tuple(row.key for row, _ in both),
                )
                for name, both in named.items()
            ),
        )
        for (defense, clean), named in pairs.items()
    )


def _place(cell: Cell, defense: str) -> tuple[str, str, str, int]:
    return cell.victim.key, str(cell.clean), defense, cell.seed


def _difference(pairs: list[tuple[Row, Row]], metric: str) -> Estimate:
    return mean_of([row.result[metric]["value"] - default.result[metric]["value"] for row, default in pairs])
