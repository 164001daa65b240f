"""`purify` of a full-width PreActResNet-18 with 500 clean CIFAR-10 images, start to finish.

    python benchmarks/full_width.py       # prints a line a run and writes benchmarks/full-width.json

Each run is a process of its own, so that peaks of memory are its own, too. Of NFT's 1,000 steps 20 are made and counted
fifty times; `reference` is its loss on all weights in fp32, which is what the authors' code computes in a step, since
it does not switch the weights' gradients off. `tuning` is plain fine-tuning of all weights, for its peak, also with
activation checkpointing.
The network has fresh weights: what a purification costs does not depend on them, save that patches are not odd.
DETROJAN_DATA names the data packs.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from detrojan import DEFENSES, Preprocessing, load_data, purify
from detrojan.data.samples import sample
from detrojan.models.preact_resnet import preact_resnet18
from provenance import origin

HERE = Path(__file__).parent
RUNS: dict[str, dict[str, Any]] = {
    "nft": {"steps": 20},
    "shrink_distil": {},
    "consistency_distil": {},
    "tuning": {"steps": 20},
    "tuning, activation checkpointing": {"steps": 20},
    "reference": {"steps": 20, "tune": "weights"},
}
METHODS = {"tuning": "fine_tuning", "reference": "nft"}
REPEATED = {"nft": 50, "reference": 50}
"""How often the seconds of a short run count."""


def one(name: str) -> dict[str, Any]:
    clean, _ = sample(load_data("cifar10", split="test"), per_class=50, seed=0)
    torch.manual_seed(0)
    model = preact_resnet18().eval()
    method, _, how = name.partition(", ")
    result = purify(
        model,
        clean,
        method=DEFENSES.build(METHODS.get(method, method), **RUNS[name]),
        preprocessing=Preprocessing.named("cifar10"),
        precision="fp32" if name == "reference" else "auto",
        activation_checkpointing=bool(how),
        tolerance=1.0,
    )
    cost = result.cost
    found: dict[str, Any] = {"run": name, **RUNS[name], "forwards": cost.forwards, "backwards": cost.backwards}
    found["seconds"] = round(cost.seconds * REPEATED.get(name, 1), 1)
    if name in REPEATED:
        found["seconds are of a part, times"] = REPEATED[name]
    return found | {"peak MiB": round(cost.peak_bytes / 2**20), "execution": result.execution, **origin()}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1])))
    else:
        rows = []
        for name in RUNS:
            ran = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
            rows.append(json.loads(ran.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
        (HERE / "full-width.json").write_text(json.dumps(rows, indent=1) + "\n")
