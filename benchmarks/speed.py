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
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from detrojan.augmentation import mixup
from detrojan.execution import Execution
from detrojan.masks import Masks
from detrojan.models.preact_resnet import preact_resnet18
from detrojan.tuning import Meter

VARIANTS = ("nft", "activations", "weights")
BATCH = 128


def prepare(variant: str) -> Callable[[], None]:
    """A function that does one step."""
    torch.manual_seed(0)
    model = preact_resnet18()
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    generator = torch.Generator().manual_seed(0)
    execution = Execution.choose(model)
    if variant == "weights":
        model.train().to(execution.device)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

        def step() -> None:
            loss = F.cross_entropy(model(images.to(execution.device)), labels.to(execution.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step
    if variant == "activations":
        execution.place(model).train().requires_grad_(False)

        def step() -> None:
            inputs = execution.send(images).requires_grad_()
            with execution.running():
                outputs = model(inputs)
            F.cross_entropy(outputs.float(), labels.to(execution.device)).backward()

        return step
    masks = Masks(model, "norm", statistics="batch")
    del model
    execution.place(masks).train()
    optimizer = torch.optim.SGD(masks.factors, 0.05, momentum=0.95)
    floors = [0.0] * len(masks.names)

    def step() -> None:
        mixed = mixup(images, generator)
        with execution.running():
            outputs = masks(execution.send(mixed.inputs))
        targets = labels.to(outputs.device)
        losses = F.cross_entropy(outputs.float(), targets, reduction="none")
        partners = F.cross_entropy(outputs.float(), targets[mixed.partner.to(outputs.device)], reduction="none")
        loss = mixed.loss(losses, partners) + 2e-5 * torch.stack([(1 - f).abs().sum() for f in masks.factors]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        masks.clamp_(floors)

    return step


def peak(variant: str) -> int:
    """Peak bytes of two steps in this process, over what stands before the first."""
    step = prepare(variant)
    meter = Meter().start()
    step()
    step()
    return meter.cost().peak_bytes


def measure(rounds: int) -> dict[str, object]:
    steps = {variant: prepare(variant) for variant in VARIANTS}
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

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "seconds (median)": {v: round(median(s), 4) for v, s in seconds.items()},
        "nft / activations (min, median, max)": [round(f(ratio("nft", "activations")), 3) for f in (min, median, max)],
        "nft / weights (min, median, max)": [round(f(ratio("nft", "weights")), 3) for f in (min, median, max)],
        "peak MiB": {v: round(b / 2**20, 1) for v, b in bytes_of.items()},
        "peak nft / weights": round(bytes_of["nft"] / bytes_of["weights"], 3),
        "rounds": rounds,
        "execution": str(Execution.choose(preact_resnet18())),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
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
