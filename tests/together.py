"""What several processes do together, and one alone: every defense on a small victim, and a poisoned training.

torchrun --nproc-per-node 2 tests/together.py results.safetensors
"""

import sys
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detrojan import parallel, purify, train
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.training import Recipe

QUICK = {"steps": 6, "batch": 17}  # which two do not share evenly


def clean() -> Samples:
    """Images (61, 3, 12, 12) of three classes; the class is the amount of red."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (61, 3, 12, 12), dtype=torch.uint8, generator=generator)
    labels = torch.arange(61) % 3
    images[:, 0] = (labels * 100).to(torch.uint8)[:, None, None]
    return Samples(inputs=images, labels=labels)


def network() -> nn.Module:
    """Norms of the batch, with and without weights of their own."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8, affine=True),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
        nn.BatchNorm1d(6, affine=False),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def work(*, distributed: bool) -> dict[str, Tensor]:
    """The weights after each of the works, by its name and theirs."""
    samples, found = clean(), {}
    alike = {"device": "cpu", "precision": "fp32", "distributed": distributed}
    recipe = Recipe(epochs=3, batch=16, learning_rate=0.1)
    victim = train(network(), samples, attack="badnets", poison_rate=0.2, recipe=recipe, **alike).model
    found |= {f"train {key}": value for key, value in victim.state_dict().items()}
    for name in DEFENSES:
        known = {field.name for field in fields(DEFENSES[name])}
        method = DEFENSES.build(name, **{key: value for key, value in QUICK.items() if key in known})
        result = purify(victim, samples, method=method, tolerance=1.0, **alike)
        found |= {f"{name} {key}": value for key, value in result.model.state_dict().items()}
    return {key: value.clone() for key, value in found.items()}


if __name__ == "__main__":
    parallel.join()
    weights = work(distributed=True)
    if parallel.leads():
        save_file(weights, Path(sys.argv[1]))
