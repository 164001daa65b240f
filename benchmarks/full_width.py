"""`purify` of a full-width PreActResNet-18 with 500 clean CIFAR-10 images, start to finish.

    python benchmarks/full_width.py       # prints a line a method and writes benchmarks/full-width.json

The network has fresh weights: what a purification costs does not depend on them. DETROJAN_DATA names the data packs.
"""

import json
from pathlib import Path

import torch

from detrojan import Preprocessing, load_data, purify
from detrojan.data.samples import sample
from detrojan.models.preact_resnet import preact_resnet18
from provenance import origin

HERE = Path(__file__).parent
METHODS = ("nft", "shrink_distil")

if __name__ == "__main__":
    clean, _ = sample(load_data("cifar10", split="test"), per_class=50, seed=0)
    torch.manual_seed(0)
    model = preact_resnet18().eval()
    found = []
    for method in METHODS:
        result = purify(model, clean, method=method, preprocessing=Preprocessing.named("cifar10"), tolerance=1.0)
        cost = result.cost
        found.append(
            {
                "method": method,
                "steps": cost.backwards,
                "seconds": round(cost.seconds, 1),
                "seconds a step": round(cost.seconds / cost.backwards, 3),
                "execution": result.execution,
                **origin(),
            }
        )
        print(found[-1], flush=True)
    (HERE / "full-width.json").write_text(json.dumps(found, indent=1) + "\n")
