"""What the bench is tried with: cells that cost nothing, and work that is only told."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from detrojan.bench.cells import Cell, Clean, VictimSpec
from detrojan.bench.working import weights_of
from detrojan.errors import BadArgument

VICTIM = VictimSpec(data="digits", kept=200, attack="badnets", attack_settings={"size": 8}, shown="BadNets")
CELL = Cell(victim=VICTIM, defense="nft", settings={"steps": 5}, clean=Clean(per_class=2), shown="NFT")


def cells(count: int, *, victims: int = 1) -> list[Cell]:
    """So many cells, spread over victims of different seeds."""
    return [replace(CELL, victim=replace(VICTIM, seed=i % victims), seed=i) for i in range(count)]


def double(x: int) -> int:
    """A job that ends well."""
    return 2 * x


def refuse() -> None:
    """A job that fails."""
    raise BadArgument("no")


def die() -> None:
    """A job that takes its worker with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def touch_victim(spec: VictimSpec, folder: Path, device: str) -> dict[str, Any]:
    """A victim without weights."""
    folder.mkdir(exist_ok=True)
    weights_of(spec, folder).touch()
    return {"acc": share(0.9), "asr": share(1.0), "seconds": 1.0}


def cell_on_a_node(cell: Cell, folder: Path, device: str) -> dict[str, Any]:
    """A cell that notes on which node of a Ray cluster it was begun, and hangs on the one that is named in a file."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with (folder / cell.key).open("a") as notes:
        notes.write(node + "\n")
    time.sleep(300 if (folder.parent / "hangs").read_text() == node else 0.2)
    return {"acc": share(0.8), "asr": share(0.1), "cost": {"seconds": 1.0}}


def share(value: float) -> dict[str, float]:
    """An estimate as a row holds it."""
    return {"value": value, "low": value, "high": value, "count": 100}
