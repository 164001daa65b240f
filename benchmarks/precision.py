"""Do bfloat16 and channels-last change what a purification gives? The BadNets victim of `cifar10_small.py`, 500 images.

    python benchmarks/precision.py        # one JSON file a row in runs/precision; then writes benchmarks/precision.md

Each method runs with three seeds (clean images, batches) in bfloat16 channels-last (what is chosen where the processor
has instructions for it) and in plain fp32, contiguous. DETROJAN_DATA names the data packs.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import torch

import detrojan
from cifar10_small import CIFAR10, KEPT, scores_of, victim_of
from detrojan import load_data, purify
from detrojan.data.samples import sample
from detrojan.execution import Execution
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "precision"
MODES = {
    "bf16, channels-last": {"bf16": True, "channels_last": True},
    "fp32, contiguous": {"bf16": False, "channels_last": False},
}
METHODS: dict[str, dict[str, Any]] = {"nft": {"steps": 300}, "shrink_distil": {}}


def run() -> None:
    pool = load_data("cifar10", split="train").subset(torch.arange(KEPT))
    for method, settings in METHODS.items():
        for seed in range(3):
            for mode, fields in MODES.items():
                path = RUNS / f"{method}-{mode.replace(', ', '-')}-s{seed}.json"
                if not claim(path):
                    continue
                victim = victim_of("badnets")
                chosen = replace(Execution.choose(victim, "cpu"), **fields)
                clean, _ = sample(pool, per_class=50, seed=seed)
                with patch.object(Execution, "choose", return_value=chosen):
                    defense = detrojan.DEFENSES.build(method, **settings)
                    result = purify(victim, clean, method=defense, preprocessing=CIFAR10, seed=seed, tolerance=1.0)
                scores = scores_of("badnets", result.model)
                row = {"method": method, "mode": mode, "seed": seed, "seconds": result.cost.seconds}
                write(path, {**row, **scores, **origin()})
                release(path)
                print(row, scores, flush=True)


def table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json"))]
    write(HERE / "precision.json", {"rows": rows})
    lines = [
        "# Precision and memory layout",
        "",
        "PreActResNet-18 of width 16, BadNets, 500 clean images, 3 seeds: mean ± sample standard deviation, in %; NFT",
        f"with 300 steps. Written by `python benchmarks/precision.py`; commits {sorted({r['commit'] for r in rows})},",
        f"{rows[0]['date']}, {rows[0]['machine']}.",
        "",
        "| method | mode | ACC | ASR | seconds |",
        "|---|---|---|---|---|",
    ]
    for method in METHODS:
        for mode in MODES:
            group = [r for r in rows if (r["method"], r["mode"]) == (method, mode)]
            cells = [
                f"{mean(r[k] for r in group):.1f} ± {stdev(r[k] for r in group):.1f}" for k in ("acc", "asr", "seconds")
            ]
            lines.append(f"| {method} | {mode} | {' | '.join(cells)} |")
    (HERE / "precision.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    run()
    table()
