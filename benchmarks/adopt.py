"""Take victims that `attacks.py` trained into the store of a bench, so that they are not trained twice.

    python benchmarks/adopt.py [--grid table1-cifar10] [--seeds 0 1 2] [--store runs/bench]

A victim is taken where its record says what the grid asks for: data, architecture, attack and settings, mapping, rate,
recipe and seed. Its row keeps the commit, the date, the machine and the seconds of its training; its outcomes by
sample are computed anew and must give the figures of its row.
"""

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from detrojan.bench import grid as grids
from detrojan.bench.cells import VictimSpec
from detrojan.bench.store import Row, Store
from detrojan.bench.working import score_victim, weights_of
from detrojan.data.preprocessing import Preprocessing
from detrojan.scales import Scale
from detrojan.victim import trigger_file

HERE = Path(__file__).parent
SHOWN = {"Troj-one": "troj", "Troj-all": "troj-all", "Dyn-one": "dyn", "Dyn-all": "dyn-all", "Benign": "benign"}
"""The names of `attacks.py` for those of the grid; others differ by their case alone."""


def as_written(settings: Any) -> dict[str, Any]:
    """The fields of a record of settings as a file of JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found


def same(spec: VictimSpec, record: dict[str, Any]) -> bool:
    """Whether a victim's record says what the grid asks for."""
    method = spec.method()
    return (
        (spec.data, spec.kept, spec.in_turns, spec.preprocessing) == ("cifar10", 5000, False, None)
        and record["data"] == "cifar10 train"
        and record["architecture"] == spec.architecture
        and tuple(record["sources"]) == spec.sources
        and record["pool"] == "auto"
        and record["preprocessing"] == as_written(Preprocessing.named("cifar10"))
        and spec.poison_rate is None
        and record["attack"] == spec.attack
        and record["mapping"] == spec.mapping
        and record["target"] == spec.target
        and record["seed"] == spec.seed
        and {"adam": False, **record["recipe"]} == as_written(replace(Scale.named(spec.scale).recipe, **spec.recipe))
        and record["architecture_settings"]["width"] == Scale.named(spec.scale).width
        and (method is None or record["attack_settings"] == as_written(method))
        and (method is None or record["poison_rate"] == method.rate)
    )


def adopt(spec: VictimSpec, source: Path, store: Store, folder: Path) -> str:
    """Copy one victim and write its row; returns what was done."""
    name = SHOWN.get(spec.shown, spec.shown.lower())
    weights = source / f"{name}-s{spec.seed}.safetensors"
    told = weights.with_suffix(".row.json")
    if store.get(spec.key):
        return "is there"
    if not weights.exists() or not told.exists():
        return "is not trained yet"
    row, record = json.loads(told.read_text()), json.loads(weights.with_suffix(".json").read_text())
    if not same(spec, record):
        return "was trained otherwise"
    target = weights_of(spec, folder)
    shutil.copyfile(weights, target)
    if trigger_file(weights).exists():
        shutil.copyfile(trigger_file(weights), trigger_file(target))
    target.with_suffix(".json").write_text(json.dumps({**record, "weights": target.name}, indent=1) + "\n")
    estimates = score_victim(spec, folder)
    for metric, estimate in estimates.items():
        if abs(estimate["value"] - row[metric]["value"]) > 0.002:
            raise SystemExit(f"{weights}: {metric} is {estimate['value']}, its row says {row[metric]['value']}")
    origin = {key: row[key] for key in ("commit", "date", "machine")}
    result = {**estimates, "seconds": row["seconds"], "execution": record["execution"]}
    store.put(Row(key=spec.key, kind="victim", spec=asdict(spec), result=result, origin=origin))
    return "taken"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="table1-cifar10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--store", type=Path, default=HERE.parent / "runs" / "bench")
    options = parser.parse_args()
    found = grids.read(grids.named(options.grid), seeds=options.seeds)
    source = HERE.parent / "runs" / "attacks-cifar10-small"
    folder = options.store / "victims"
    folder.mkdir(parents=True, exist_ok=True)
    with Store(options.store / "rows.db") as store:
        for spec in {cell.victim.key: cell.victim for cell in found.cells}.values():
            print(f"{spec.shown} seed {spec.seed}: {adopt(spec, source, store, folder)}", flush=True)


if __name__ == "__main__":
    main()
