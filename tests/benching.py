"""What the bench is tried with: cells that cost nothing, and work that is only told."""

from dataclasses import replace

from detrojan.bench.cells import Cell, Clean, VictimSpec

VICTIM = VictimSpec(data="digits", kept=200, attack="badnets", attack_settings={"size": 8}, shown="BadNets")
CELL = Cell(victim=VICTIM, defense="nft", settings={"steps": 5}, clean=Clean(per_class=2), shown="NFT")


def cells(count: int, *, victims: int = 1) -> list[Cell]:
    """So many cells, spread over victims of different seeds."""
    return [replace(CELL, victim=replace(VICTIM, seed=i % victims), seed=i) for i in range(count)]


def share(value: float) -> dict[str, float]:
    """An estimate as a row holds it."""
    return {"value": value, "low": value, "high": value, "count": 100}
