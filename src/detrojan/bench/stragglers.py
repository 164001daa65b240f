"""Which cells take far longer than others of their defense, so that an idle worker may try them, too."""

import time
from collections import defaultdict
from statistics import median

from detrojan.bench.cells import Cell

SLOW = 3.0
"""Times the median of the finished cells of the same defense."""
FEWEST = 3
PATIENCE = 5.0
"""Seconds under which no cell is late, and between two looks."""


class Stragglers:
    """Keeps the times of cells: begun, ended, late."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[Cell, float]] = {}
        self._took: dict[str, list[float]] = defaultdict(list)

    def begin(self, cell: Cell) -> None:
        """A worker got the cell; a second one does not begin it again."""
        self._begun.setdefault(cell.key, (cell, time.monotonic()))

    def end(self, cell: Cell) -> None:
        """The cell's answer is there."""
        begun = self._begun.pop(cell.key, None)
        if begun is not None:
            self._took[cell.defense].append(time.monotonic() - begun[1])

    def forget(self, cell: Cell) -> None:
        """The cell's worker is lost; it will begin anew."""
        self._begun.pop(cell.key, None)

    def late(self) -> list[Cell]:
        """The cells that are late by now, the oldest first."""
        now = time.monotonic()
        return [cell for cell, begun in self._begun.values() if now - begun > self._limit(cell)]

    def _limit(self, cell: Cell) -> float:
        took = self._took[cell.defense]
        return max(PATIENCE, SLOW * median(took)) if len(took) >= FEWEST else float("inf")
