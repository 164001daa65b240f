"""What several processes do together, and one alone: every defense on a small victim, and a poisoned training.

torchrun --nproc-per-node 2 tests/together.py results.safetensors
"""

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detrojan import parallel, purify, train
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import Unsupported
from detrojan.recipe import Recipe

QUICK = {"steps": 6, "batch": 17, "rounds": 2, "warmup": 2}  # batches which two do not share evenly
AGAIN = "nft, activation checkpointing"
ALONE = ("nad", "fip", "ibau", "bti_dbf", "unit")
SHARDED = ("nft", "auto", "neuron_masks", "shrink_distil", "identity", "fine_tuning", "super_fine_tuning")


def clean() -> Samples:
    """Images (61, 3, 12, 12) of three classes; the class is the amount of red."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (61, 3, 12, 12), dtype=torch.uint8, generator=generator)
    labels = torch.arange(61) % 3
    images[:, 0] = (labels * 100).to(torch.uint8)[:, None, None]
    return Samples(inputs=images, labels=labels)


def network() -> nn.Module:
    """Blocks, and norms of the batch with and without weights of their own."""
    torch.manual_seed(int(os.environ.get("RANK", "0")))  # all processes must take the first one's weights
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
        nn.BatchNorm1d(6, affine=False),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def methods() -> dict[str, dict[str, Any]]:
    """Every defense with few steps, one that tunes the weights, and one that computes activations again."""
    found: dict[str, dict[str, Any]] = {}
    for name in DEFENSES:
        names = {f.name for f in fields(DEFENSES[name])}
        found[name] = {n: QUICK.get(n, 3) for n in names if n in QUICK or n.endswith(("_steps", "_epochs"))}
    few = {"steps": 6, "batch": 17, "tune": "weights"}
    return found | {"nft, weights": few, AGAIN: few}


def refused(name: str, *, shards: bool) -> bool:
    """Whether a defense says that it cannot share its work among processes, or among shards."""
    return name in ALONE or (shards and not name.startswith(SHARDED))


def work(*, distributed: bool) -> dict[str, Tensor]:
    """The weights after each of the works, by its name and theirs."""
    samples, found = clean(), {}
    alike = {"device": "cpu", "precision": "fp32", "distributed": distributed}
    recipe = Recipe(epochs=3, batch=16, learning_rate=0.1)
    for shards in (True, False):
        how = alike | ({"distributed": "shards"} if distributed and shards else {})
        victim = train(network(), samples, attack="badnets", poison_rate=0.2, recipe=recipe, **how).model
        title = "train, shards" if shards else "train"
        found |= {f"{title} {key}": value for key, value in victim.state_dict().items()}
    for name, settings in methods().items():
        method = DEFENSES.build(name.partition(",")[0], **settings)
        for shards in (False, True):
            how = alike | ({"distributed": "shards"} if distributed and shards else {})
            title = f"{name}, shards" if shards else name
            try:
                training = samples if getattr(method, "needs_training_set", False) else None
                how |= {"activation_checkpointing": name == AGAIN, "tolerance": 1.0}
                result = purify(victim, samples, method=method, training=training, **how)
            except Unsupported:
                continue  # which the test expects of those alone that `refused` names
            found |= {f"{title} {key}": value for key, value in result.model.state_dict().items()}
    return {key: value.clone() for key, value in found.items()}


if __name__ == "__main__":
    weights = work(distributed=True)
    divided = parallel.shard(network(), torch.device("cpu"))
    weights["held here"] = torch.tensor([sum(p.to_local().numel() for p in divided.parameters())])
    if parallel.leads():
        save_file(weights, Path(sys.argv[1]))
