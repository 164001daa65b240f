"""How the recipe of scale `small` was chosen: what short trainings reach on images that no report is made on.

    python benchmarks/scales.py train    # one JSON file for each recipe and attack; finished ones are kept
    python benchmarks/scales.py table    # writes benchmarks/scales.md and .json

PreActResNet-18 of width 16 on CIFAR-10's last 45,000 training images, scored on the first 5,000; seed 0. WaNet decides:
of the attacks that need no generator it is the one that a short training learns last. Rows lie in runs/scales (not
committed); several processes may work side by side.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from detrojan import Preprocessing, Recipe, evaluate, load_data, train, trigger
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "scales"
CIFAR10 = Preprocessing.named("cifar10")
RECIPES = {
    "4 epochs, 3 of them at 24 pixels": Recipe(epochs=4, batch=128, learning_rate=0.1, small=0.75),
    "the same, half the batch": Recipe(epochs=4, batch=64, learning_rate=0.1, small=0.75),
    "the same, twice the learning rate": Recipe(epochs=4, batch=128, learning_rate=0.2, small=0.75),
    "the same, no crop": Recipe(epochs=4, batch=128, learning_rate=0.1, small=0.75, padding=0),
    "3 epochs, all at 32 pixels, no crop": Recipe(epochs=3, batch=128, learning_rate=0.1, padding=0),
    "the same, learning rate 0.3": Recipe(epochs=3, batch=128, learning_rate=0.3, padding=0),
    "the same, learning rate 0.6": Recipe(epochs=3, batch=128, learning_rate=0.6, padding=0),
    "4 epochs, 2 of them at 24 pixels, no crop": Recipe(epochs=4, batch=128, learning_rate=0.4, padding=0, small=0.5),
}
ATTACKS = ("wanet", "none")


def train_all() -> None:
    data = load_data("cifar10", split="train")
    seen, held = data.subset(torch.arange(5000, len(data))), data.subset(torch.arange(5000))
    for attack in ATTACKS:
        for number, (name, recipe) in enumerate(RECIPES.items()):
            path = RUNS / f"{number}-{attack}.row.json"
            if not claim(path):
                continue
            start = time.perf_counter()
            victim = train(
                "detrojan:preact_resnet18",
                seen,
                attack=None if attack == "none" else attack,
                preprocessing=CIFAR10,
                recipe=recipe,
                width=16,
            )
            seconds = time.perf_counter() - start
            triggered = None if victim.backdoor is None else trigger(held, victim.backdoor)
            scores = evaluate(victim.model, held, triggered, preprocessing=CIFAR10)
            estimates = {k: e.value for k in ("acc", "asr") if (e := getattr(scores, k)) is not None}
            row = {"name": name, "attack": attack, "recipe": asdict(recipe), "seconds": seconds, **estimates}
            write(path, {**row, **origin()})
            release(path)
            print(f"{name}, {attack}: {estimates}, {seconds:.0f} s", flush=True)


def table() -> None:
    found = [json.loads(path.read_text()) for path in RUNS.glob("*.row.json")]
    write(HERE / "scales.json", {"rows": found})
    rows = {(row["name"], row["attack"]): row for row in found}
    lines = [_HEADER]
    for name in RECIPES:
        benign, wanet = rows.get((name, "none")), rows.get((name, "wanet"))
        cells = [_percent(benign, "acc"), _percent(wanet, "acc"), _percent(wanet, "asr")]
        seconds = f"{wanet['seconds']:.0f}" if wanet else "-"
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds} |")
    (HERE / "scales.md").write_text("\n".join(lines) + "\n")


def _percent(row: dict[str, float] | None, key: str) -> str:
    return "-" if row is None else f"{100 * row[key]:.1f}"


_HEADER = """# How scale `small` was chosen

PreActResNet-18 of width 16, 45,000 training images of CIFAR-10, batch 128, learning rate 0.1 unless said otherwise; ACC
and ASR in % on 5,000 training images that were kept out, seed 0, seconds of one WaNet training on one core beside
another. "The same" is the line before but for what is named; the last line has learning rate 0.4. Commits and dates:
`scales.json`. Written by `python benchmarks/scales.py table`.

| recipe | benign ACC | WaNet ACC | WaNet ASR | seconds |
|---|---|---|---|---|"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("train", "table"))
    {"train": train_all, "table": table}[parser.parse_args().stage]()
