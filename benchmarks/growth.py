"""What `consistency_distil` costs as networks and clean sets grow, as ratios within one process.

    python benchmarks/growth.py           # prints the tables and writes benchmarks/growth.md and .json

Networks: a step (batches of 16, drawn pixels of 64 x 64 for ResNets, 224 x 224 for ViTs, with patches of 16) beside a
forward of the same batch, in turns, medians; a cost that grows with the forward's has the same ratio for all.
Clean sets: whole purifications of a PreActResNet-18 of width 16 with few steps, views and patches, of more and more
CIFAR-10 images; the method's own seconds, without what is judged before and after. DETROJAN_DATA names the data packs.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from torch import nn

from detrojan import DEFENSES, Preprocessing, Samples, load_data, purify
from detrojan.data.samples import sample
from detrojan.execution import Execution
from detrojan.models.preact_resnet import preact_resnet18
from provenance import origin
from rows import write

HERE = Path(__file__).parent
BATCH, ROUNDS, CLASSES = 16, 5, 10
SMALL = {"strong_views": 64, "joined_views": 64, "search_steps": 0, "batch": BATCH}
VIT = partial(torchvision.models.VisionTransformer, image_size=224, patch_size=16, num_classes=CLASSES)
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    **{
        f"ResNet-{depth}": (64, partial(getattr(torchvision.models, f"resnet{depth}"), num_classes=CLASSES))
        for depth in (18, 34, 50, 101, 152)
    },
    "ViT-S": (224, partial(VIT, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536)),
    "ViT-B": (224, partial(VIT, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072)),
    "ViT-L": (224, partial(VIT, num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096)),
}
SIZES = (10, 100, 500, 2500, 10000)


def awake(model: nn.Module, batch: torch.Tensor) -> nn.Module:
    """The fresh network with statistics of its norms, and a head that says something, as a trained one has."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.Linear) and module.out_features == CLASSES:
            nn.init.normal_(module.weight, std=0.1)
    with torch.no_grad():
        model.train()(batch)
    return model.eval()


def network(name: str) -> dict[str, Any]:
    """Median seconds of a step and of a forward."""
    side, build = NETWORKS[name]
    torch.manual_seed(0)
    images = torch.randint(0, 256, (40, 3, side, side), dtype=torch.uint8)
    model = awake(build(), images[:BATCH].float() / 255)
    clean = Samples(inputs=images, labels=torch.arange(40) % CLASSES)
    execution = Execution.choose(model)
    batch = images[:BATCH].float() / 255
    forwards: list[float] = []
    steps: list[float] = []
    began = [0.0]

    def step_ended(_: Any) -> None:
        steps.append(time.perf_counter() - began[0])
        start = time.perf_counter()
        with torch.no_grad():
            execution.run(model, batch)
        forwards.append(time.perf_counter() - start)
        began[0] = time.perf_counter()

    execution.place(model)
    method = DEFENSES.build("consistency_distil", **SMALL, steps=ROUNDS + 1)
    purify(model, clean, method=method, tolerance=1.0, on_step=step_ended)
    step, forward = median(steps[1:]), median(forwards[1:])
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    row = {"network": name, "parameters (millions)": round(millions, 1), "seconds a forward": round(forward, 4)}
    return row | {"seconds a step": round(step, 4), "step / forward": round(step / forward, 2)}


def clean_set(count: int) -> dict[str, Any]:
    """Seconds of a purification with so many clean images."""
    clean, _ = sample(load_data("cifar10", split="test"), per_class=count // CLASSES, seed=0)
    torch.manual_seed(0)
    method = DEFENSES.build("consistency_distil", steps=30, strong_views=300, joined_views=1500, search_steps=20)
    cifar10 = Preprocessing.named("cifar10")
    cost = purify(preact_resnet18(width=16).eval(), clean, method=method, preprocessing=cifar10, tolerance=1.0).cost
    return {"clean images": count, "seconds": round(cost.seconds, 1), "forwards": cost.forwards}


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return [*lines, *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows)]


if __name__ == "__main__":
    clean_set(100)  # the first one also loads what torch loads late
    sets = [clean_set(count) for count in SIZES]
    print(*table(sets), sep="\n", flush=True)
    networks = []
    for name in NETWORKS:
        networks.append(network(name))
        print(networks[-1], flush=True)
    made = origin()
    write(HERE / "growth.json", {"networks": networks, "clean sets": sets, **made})
    words = [
        "# What a purification costs as networks and clean sets grow",
        "",
        f"`consistency_distil`; written by `python benchmarks/growth.py`, commit {made['commit']}, {made['date']},",
        f"{made['machine']}, {Execution.choose(preact_resnet18(width=16))}.",
        f"A step has {BATCH} images, a forward as many; clean sets have 30 steps, and a tenth of the views and of the",
        "search for patches that the default has.",
        "",
        *table(networks),
        "",
        *table(sets),
    ]
    (HERE / "growth.md").write_text("\n".join(words) + "\n")
