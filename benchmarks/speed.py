"""What one NFT step costs, as ratios within one process: full-width PreActResNet-18, batch 128 of 3x32x32.

    python benchmarks/speed.py            # prints the table and writes benchmarks/speed.json

Compared in turn, A B C A B C ..., so that drift of the machine's speed hits all alike:
- `nft`: MixUp, forward, backward to the masks, SGD on the masks, projection (what a user runs, layout chosen for them);
- `activations`: one forward plus one backward to the activations only, in the same layout and precision;
- `weights`: a plain fp32 step (contiguous) that tunes all the weights with SGD.
Peak memory is that of a fresh process of each, over what is in use before its first step.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from detrojan.augmentation import mixup
from detrojan.execution import Execution
from detrojan.masks import Masks
from detrojan.models.preact_resnet import preact_resnet18
from detrojan.tuning import Meter
from provenance import origin

Step = Callable[[], None]
BATCH = 128


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))


def weights() -> Step:
    (images, labels), model = batch(), preact_resnet18().train()
    device = Execution.choose(model).device
    optimizer = torch.optim.SGD(model.to(device).parameters(), 0.01, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def activations() -> Step:
    (images, labels), model = batch(), preact_resnet18().train().requires_grad_(False)
    execution = Execution.choose(model)
    execution.place(model)

    def step() -> None:
        inputs = execution.send(images).requires_grad_()
        with execution.running():
            outputs = model(inputs)
        F.cross_entropy(outputs.float(), labels.to(execution.device)).backward()

    return step


def nft() -> Step:
    (images, labels), masks = batch(), Masks(preact_resnet18(), "norm", statistics="batch")
    execution = Execution.choose(masks)
    execution.place(masks).train()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(masks.factors, 0.05, momentum=0.95)

    def step() -> None:
        mixed = mixup(images, generator)
        with execution.running():
            outputs = masks(execution.send(mixed.inputs))
        own = labels.to(execution.device)
        losses = F.cross_entropy(outputs.float(), own, reduction="none")
        partners = F.cross_entropy(outputs.float(), own[mixed.partner.to(own.device)], reduction="none")
        drift = torch.stack([(1 - factor).abs().sum() for factor in masks.factors]).sum()
        optimizer.zero_grad()
        (mixed.loss(losses, partners) + 2e-5 * drift).backward()
        optimizer.step()
        masks.clamp_(0.0, 1.0)

    return step


VARIANTS: dict[str, Callable[[], Step]] = {"nft": nft, "activations": activations, "weights": weights}


def peak(variant: str) -> int:
    """Peak bytes of two steps in this process, over what stands before the first."""
    step = VARIANTS[variant]()
    meter = Meter().start()
    step()
    step()
    return meter.cost().peak_bytes


def measure(rounds: int) -> dict[str, object]:
    steps = {variant: build() for variant, build in VARIANTS.items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(rounds + 1):
        for variant, step in steps.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[variant].append(time.perf_counter() - start)
    script = [sys.executable, __file__, "--peak"]
    bytes_of = {
        v: int(subprocess.run([*script, v], capture_output=True, text=True, check=True).stdout) for v in VARIANTS
    }

    def ratio(a: str, b: str) -> list[float]:
        return sorted(x / y for x, y in zip(seconds[a], seconds[b], strict=True))

    return {
        "seconds (median)": {v: round(median(s), 4) for v, s in seconds.items()},
        "nft / activations (min, median, max)": [round(f(ratio("nft", "activations")), 3) for f in (min, median, max)],
        "nft / weights (min, median, max)": [round(f(ratio("nft", "weights")), 3) for f in (min, median, max)],
        "peak MiB": {v: round(b / 2**20, 1) for v, b in bytes_of.items()},
        "peak nft / weights": round(bytes_of["nft"] / bytes_of["weights"], 3),
        "rounds": rounds,
        "execution": str(Execution.choose(preact_resnet18())),
        **origin(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", choices=VARIANTS, help="print the peak bytes of one variant, in a process of its own")
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak(arguments.peak))
    else:
        found = measure(arguments.rounds)
        (Path(__file__).parent / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found, indent=1))
