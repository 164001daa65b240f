"""Sweeps of tiny cells: what kills leave behind, and what an engine costs.

    python benchmarks/sweeps.py kills     # 200 cells, the sweep killed five times at random, against an undisturbed one
    python benchmarks/sweeps.py scaling   # cells that wait a second on 1 and 2 workers, by processes and by Ray

Each writes its part of benchmarks/sweeps.json. Digits and a network of a few weights; nothing needs the data packs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from detrojan.bench.engines import ENGINES
from detrojan.bench.store import Store
from provenance import origin
from rows import write

HERE = Path(__file__).parent
KILLS, CELLS, WAIT = 5, 24, 1.0
GRID = """
title = "200 tiny cells"
seeds = [0, 1, 2, 3, 4]
[victim]
data = "digits"
kept = 200
architecture_settings = { width = 4, in_channels = 1 }
recipe = { epochs = 1, small = 0.0, flip = false }
[clean]
per_class = [1, 2, 3, 4, 5]
[attacks]
Benign = "none"
BadNets = { attack = "badnets", settings = { size = 8 } }
[defenses]
"NFT, 1 step" = { defense = "nft", settings = { steps = 1 } }
"NFT, 2 steps" = { defense = "nft", settings = { steps = 2 } }
"shrink_distil, 1 step" = { defense = "shrink_distil", settings = { steps = 1 } }
"shrink_distil, 2 steps" = { defense = "shrink_distil", settings = { steps = 2 } }
"""


def kills() -> dict[str, Any]:
    """Kill a sweep at random moments, resume it, and compare its rows with those of a sweep that was left alone."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.toml"
        grid.write_text(GRID)

        def command(store: str) -> list[str]:
            return [sys.executable, "-m", "detrojan", "bench", "run", str(grid), "--store", f"{folder}/{store}"]

        start = time.perf_counter()
        subprocess.run(command("whole"), check=True, capture_output=True)
        whole = time.perf_counter() - start
        found = []
        for _ in range(KILLS):
            sweep = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wanted = (found[-1] if found else 0) + draw.randrange(1, CELLS)
            while len(_figures(Path(folder) / "killed")) < wanted and sweep.poll() is None:
                time.sleep(0.02)
            time.sleep(draw.uniform(0, 0.2))
            sweep.kill()
            sweep.wait()
            found.append(len(_figures(Path(folder) / "killed")))
        subprocess.run(command("killed"), check=True, capture_output=True)
        killed, undisturbed = (_figures(Path(folder) / name) for name in ("killed", "whole"))
    return {
        "rows": len(killed),
        "equal": killed == undisturbed,
        "rows after each kill": found,
        "seconds undisturbed": whole,
    }


def _figures(folder: Path) -> dict[str, dict[str, float]]:
    if not (folder / "rows.db").is_file():
        return {}
    names = ("acc", "asr", "ra", "der")
    return {r.key: {n: r.result[n]["value"] for n in names if n in r.result} for r in Store(folder / "rows.db")}


def wait(seconds: float) -> float:
    """A cell that costs its time and no processor."""
    time.sleep(seconds)
    return seconds


def scaling(names: list[str]) -> dict[str, Any]:
    """The time of cells that wait, on 1 and 2 workers: efficiency, and what an engine adds to a cell."""
    told: dict[str, Any] = {}
    for name in names:
        seconds = {}
        for count in (1, 2):
            workers = ENGINES.build(name, workers=count).start()
            for future in [workers.submit(wait, 0.0) for _ in range(count)]:
                future.result()  # started, and torch imported
            start, out = time.perf_counter(), []
            for _ in range(CELLS):
                while len(out) >= count:
                    out = [future for future in out if not future.done()]
                    time.sleep(0.002)
                out.append(workers.submit(wait, WAIT))
            for future in out:
                future.result()
            seconds[count] = time.perf_counter() - start
            workers.close()
        told[name] = {
            "efficiency": seconds[1] / (2 * seconds[2]),
            "seconds added to a cell": seconds[1] / CELLS - WAIT,
        }
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "scaling"))
    parser.add_argument("--engines", nargs="+", default=["processes", "ray"])
    arguments = parser.parse_args()
    result = kills() if arguments.part == "kills" else scaling(arguments.engines)
    path = HERE / "sweeps.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    write(path, {**before, arguments.part: {**result, **origin()}})
    print(json.dumps(result, indent=1))
