"""Every attack on CIFAR-10: how strong its victims are.

    python benchmarks/attacks.py train [--scale small] [--only TEXT]   # one JSON file a victim; finished ones are kept
    python benchmarks/attacks.py table [--scale small]                 # writes benchmarks/attacks-cifar10.md and .json

The attacker has the last 45,000 training images (the first 5,000 are the defender's). Three seeds for the fourteen
attacks of the NFT paper and for the benign network, one for the others. Victims and rows lie in
runs/attacks-cifar10-SCALE (not committed); several processes may work side by side. DETROJAN_DATA names the folder of
the data packs.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t

from detrojan import Preprocessing, evaluate, load_data, train, trigger
from detrojan.attacks import ATTACKS
from detrojan.scales import SCALES, Scale
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
KEPT = 5000
CIFAR10 = Preprocessing.named("cifar10")
PAPER = (
    *("badnets", "blend", "troj", "troj-all", "sig", "dyn", "dyn-all"),
    *("clb", "cba", "fba", "wanet", "lira", "issba", "bppa"),
)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "troj-all": ("troj", {"mapping": "all-to-all"}),
    "dyn-all": ("dyn", {"mapping": "all-to-all"}),
}


@dataclass(frozen=True)
class Row:
    """One victim to train; `benign` is the network without an attack."""

    name: str
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def attack(self) -> str | None:
        return None if self.name == "benign" else VARIANTS.get(self.name, (self.name, {}))[0]


def rows() -> Iterator[Row]:
    """All victims, seed by seed."""
    for seed in range(3):
        yield Row("benign", seed)
        for name in PAPER:
            yield Row(name, seed, VARIANTS.get(name, (name, {}))[1])
        if seed == 0:
            yield from (Row(name, 0) for name in ATTACKS if name not in PAPER)


def train_all(scale: Scale, folder: Path, only: str) -> None:
    data, test = (load_data("cifar10", split=split) for split in ("train", "test"))
    seen = data.subset(torch.arange(KEPT, len(data)))
    for row in rows():
        path = folder / f"{row.name}-s{row.seed}.row.json"
        if only not in row.name or not claim(path):
            continue
        start = time.perf_counter()
        weights = folder / f"{row.name}-s{row.seed}.safetensors"
        state = weights.with_suffix(".state")
        victim = train(
            "detrojan:preact_resnet18",
            seen,
            attack=row.attack,
            preprocessing=CIFAR10,
            recipe=scale.recipe,
            seed=row.seed,
            state=state,
            width=scale.width,
            **row.options,
        )
        victim.save(weights, force=True)
        state.unlink(missing_ok=True)
        seconds = time.perf_counter() - start
        triggered = None if victim.backdoor is None else trigger(test, victim.backdoor)
        scores = evaluate(victim.model, test, triggered, preprocessing=CIFAR10)
        estimates = {k: asdict(e) for k in ("acc", "asr", "ra") if (e := getattr(scores, k)) is not None}
        record = {k: v for k, v in victim.record.items() if k not in ("poisoned_indices", "losses")}
        write(path, {"name": row.name, "seed": row.seed, "seconds": seconds, **estimates, "record": record, **origin()})
        release(path)
        figures = ", ".join(f"{k.upper()} {100 * e['value']:.1f}" for k, e in estimates.items())
        print(f"{row.name} seed {row.seed}: {figures}, {seconds:.0f} s", flush=True)


def table(scale: str, folder: Path) -> None:
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.row.json"))]
    stem = "attacks-cifar10" if scale == "small" else f"attacks-cifar10-{scale}"
    write(HERE / f"{stem}.json", {"rows": found})
    benign = [r["acc"]["value"] for r in found if r["name"] == "benign"]
    lines = [_HEADER.format(scale=scale, width=SCALES[scale].width)]
    order = ["benign", *PAPER, *(n for n in ATTACKS if n not in PAPER)]
    for name in order:
        group = [r for r in found if r["name"] == name]
        if group:
            cells = [_cell(group, key) for key in ("acc", "asr", "ra")]
            lost = f"{100 * (mean(benign) - mean(r['acc']['value'] for r in group)):.1f}" if benign else "-"
            seconds = mean(r["seconds"] for r in group)
            lines.append(f"| {name} | {len(group)} | {' | '.join(cells)} | {lost} | {seconds:.0f} |")
    (HERE / f"{stem}.md").write_text("\n".join(lines) + "\n")


_HEADER = """# Attacks on CIFAR-10, scale {scale}

PreActResNet-18 of width {width}, 45,000 training images, target 0, the attacks' own rates (`attacks-cifar10.json` has
all settings). ACC on 10,000 test images, ASR and RA on those whose label the attack changes. Figures in %. With one
seed: the 95 % interval of the test set; with several: the mean and its 95 % interval over the seeds (Student's t).
"ACC lost" is against the mean of the benign networks. Written by `python benchmarks/attacks.py table`.

| attack | seeds | ACC | ASR | RA | ACC lost | seconds |
|---|---|---|---|---|---|---|"""


def _cell(group: list[dict[str, Any]], key: str) -> str:
    if key not in group[0]:
        return "-"
    values = [100 * r[key]["value"] for r in group]
    if len(values) > 1:
        half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        return f"{mean(values):.1f} ± {half:.1f}"
    return f"{values[0]:.1f} ({100 * group[0][key]['low']:.1f} to {100 * group[0][key]['high']:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("train", "table"))
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--only", default="", help="train only victims whose name holds this")
    arguments = parser.parse_args()
    runs = HERE.parent / "runs" / f"attacks-cifar10-{arguments.scale}"
    if arguments.stage == "train":
        train_all(SCALES[arguments.scale], runs, arguments.only)
    else:
        table(arguments.scale, runs)
