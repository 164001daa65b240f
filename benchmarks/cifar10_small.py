"""Victims and purifications on CIFAR-10 at the small scale: PreActResNet-18 of width 16, BadNets and Blend.

    python benchmarks/cifar10_small.py victims   # trains the two victims (the first 5,000 images are kept from them)
    python benchmarks/cifar10_small.py purify    # one JSON file a row; finished rows are not run again; run two at once
    python benchmarks/cifar10_small.py table     # writes benchmarks/cifar10-small.md and .json from the rows

Victims and rows lie in runs/cifar10-small (not committed). DETROJAN_DATA names the folder of the data packs.
Settings are the methods' defaults; those of `shrink_distil` were chosen on the victims of `development.py`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import detrojan
from detrojan import Preprocessing, Recipe, evaluate, load_data, purify, train, trigger
from detrojan.data.samples import Samples, sample
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "cifar10-small"
KEPT = 5000
CIFAR10 = Preprocessing.named("cifar10")
ATTACKS = ("badnets", "blend")
METHODS = ("nft", "neuron_masks", "shrink_distil")
RECIPE = Recipe(epochs=15, batch=128, learning_rate=0.1, small=0.6)
ABLATIONS: dict[str, dict[str, Any]] = {
    "w/o regulariser": {"regularizer": 0.0},
    "w/o MixUp": {"augmentation": "none"},
    "CutMix for MixUp": {"augmentation": "cutmix"},
    "Cutout for MixUp": {"augmentation": "cutout"},
    "RandAugment for MixUp": {"augmentation": "randaugment"},
    "AugMix for MixUp": {"augmentation": "augmix"},
    "w/o mu": {"floor": "none"},
    "mu constant": {"floor": "constant"},
    "mu linear": {"floor": "linear"},
    "mu cosine": {"floor": "cosine"},
    "mu reciprocal": {"floor": "reciprocal"},
    "BN frozen": {"statistics": "frozen"},
    "BN re-estimated at the end": {"statistics": "recalibrate"},
    "BN statistics only": {"tune": "statistics"},
    "weights instead of masks": {"tune": "weights"},
}


@dataclass(frozen=True)
class Row:
    """One purification to run."""

    attack: str
    method: str
    count: int
    seed: int = 0
    variant: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        parts = [self.attack, self.method, f"n{self.count}", f"s{self.seed}", self.variant]
        return "-".join(p.replace(" ", "_").replace("/", "") for p in parts if p)


def rows() -> Iterator[Row]:
    """All rows, the most wanted first."""
    for seed in range(3):
        for method in METHODS:
            yield from (Row(a, method, n, seed) for a in ATTACKS for n in (500, 10))
        if seed == 0:
            yield from (Row("badnets", "nft", 500, 0, variant, settings) for variant, settings in ABLATIONS.items())


def make_victims(threads: int, only: str) -> None:
    torch.set_num_threads(threads)
    RUNS.mkdir(parents=True, exist_ok=True)
    data = load_data("cifar10", split="train")
    for attack in ATTACKS:
        path = RUNS / f"{attack}.pth"
        if path.exists() or only not in attack:
            continue
        start = time.perf_counter()

        def show(step: Any, attack: str = attack, start: float = start) -> None:
            if step.index % 100 == 0:
                seconds = time.perf_counter() - start
                print(f"{attack} {step.index}/{step.total} loss {step.loss:.3f} {seconds:.0f} s", flush=True)

        victim = train(
            "detrojan:preact_resnet18",
            data.subset(torch.arange(KEPT, len(data))),
            attack=attack,
            poison_rate=0.1,
            target=0,
            pool="all",
            preprocessing=CIFAR10,
            recipe=RECIPE,
            on_step=show,
            width=16,
        )
        victim.save(path)
        seconds = time.perf_counter() - start
        write(RUNS / f"{attack}.victim.json", {"seconds": seconds, "threads": threads, **scores_of(attack), **origin()})


def run_rows(threads: int, only: str, but: str) -> None:
    torch.set_num_threads(threads)
    data = load_data("cifar10", split="train")
    pool = data.subset(torch.arange(KEPT))
    for row in rows():
        path = RUNS / f"row-{row.name}.json"
        if only not in row.name or but in row.name or not claim(path):
            continue
        per_class = row.count // 10
        clean, indices = sample(pool, per_class=per_class, seed=row.seed)
        method = detrojan.DEFENSES.build(row.method, **row.settings)
        result = purify(
            victim_of(row.attack), clean, method=method, preprocessing=CIFAR10, seed=row.seed, tolerance=1.0
        )
        scores = scores_of(row.attack, result.model)
        write(
            path,
            {
                "attack": row.attack,
                "method": row.method,
                "count": row.count,
                "seed": row.seed,
                "variant": row.variant,
                "settings": dict(result.settings),
                "clean_indices": indices.tolist(),
                "seconds": result.cost.seconds,
                "forwards": result.cost.forwards,
                "backwards": result.cost.backwards,
                "peak_bytes": result.cost.peak_bytes,
                "verdict": result.verdict.reason,
                "notes": dict(result.notes),
                "threads": threads,
                **scores,
                **origin(),
            },
        )
        release(path)
        print(
            f"{row.name}: ACC {scores['acc']:.1f} ASR {scores['asr']:.1f} RA {scores['ra']:.1f}, "
            f"{result.cost.seconds:.0f} s",
            flush=True,
        )


def table() -> None:
    found = [json.loads(p.read_text()) for p in sorted(RUNS.glob("row-*.json"))]
    victims = {a: json.loads((RUNS / f"{a}.victim.json").read_text()) for a in ATTACKS}
    write(HERE / "cifar10-small.json", {"victims": victims, "rows": found})
    lines = [_HEADER, _victim_table(victims), "", _method_table(found, victims), "", _ablation_table(found)]
    (HERE / "cifar10-small.md").write_text("\n".join(lines) + "\n")


_HEADER = """# CIFAR-10 at the small scale

PreActResNet-18 of width 16; 45,000 training images, the first 5,000 kept from the victim; poison rate 10 % of all
images, target 0; clean samples drawn from those 5,000, stratified. ACC on all 10,000 test images, ASR and RA on the
9,000 that are not of class 0. Figures in %; with several seeds the mean and, after ±, the sample standard deviation.
Written by `python benchmarks/cifar10_small.py table` from `cifar10-small.json`, which holds the settings, indices,
commit, machine and date of each row.
"""


def _victim_table(victims: dict[str, Any]) -> str:
    lines = [
        "## Victims",
        "",
        "| attack | ACC | ASR | RA | seconds | threads | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for attack, v in victims.items():
        lines.append(
            f"| {attack} | {v['acc']:.1f} | {v['asr']:.1f} | {v['ra']:.1f} | {v['seconds']:.0f} | {v['threads']} "
            f"| {v['commit']} |"
        )
    return "\n".join(lines)


def _method_table(found: list[dict[str, Any]], victims: dict[str, Any]) -> str:
    lines = [
        "## Methods",
        "",
        "| attack | method | clean images | seeds | ACC | ASR | RA | ACC drop | worst ASR | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(r["attack"], r["method"], -r["count"]) for r in found if not r["variant"]})
    for attack, method, negative in keys:
        group = [
            r
            for r in found
            if (r["attack"], r["method"], -r["count"]) == (attack, method, negative) and not r["variant"]
        ]
        columns = [_spread([r[k] for r in group]) for k in ("acc", "asr", "ra")]
        drop = victims[attack]["acc"] - mean(r["acc"] for r in group)
        seconds = mean(r["seconds"] for r in group)
        lines.append(
            f"| {attack} | {method} | {-negative} | {len(group)} | {' | '.join(columns)} | {drop:.1f} "
            f"| {max(r['asr'] for r in group):.1f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def _ablation_table(found: list[dict[str, Any]]) -> str:
    lines = [
        "## NFT's ablations (BadNets, 500 images, seed 0)",
        "",
        "| NFT | ACC | ASR | RA | seconds |",
        "|---|---|---|---|---|",
    ]
    by_name = {r["variant"]: r for r in found if r["variant"]}
    by_name["as is"] = next(r for r in found if _is_as_is(r))
    for name in ("as is", *ABLATIONS):
        if name in by_name:
            r = by_name[name]
            lines.append(f"| {name} | {r['acc']:.1f} | {r['asr']:.1f} | {r['ra']:.1f} | {r['seconds']:.0f} |")
    return "\n".join(lines)


def _is_as_is(row: dict[str, Any]) -> bool:
    return (row["attack"], row["method"], row["count"], row["seed"], row["variant"]) == ("badnets", "nft", 500, 0, "")


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def victim_of(attack: str) -> torch.nn.Module:
    from detrojan import architectures, checkpoint

    model = architectures.build("detrojan:preact_resnet18", width=16)
    return checkpoint.load_into(model, checkpoint.read(RUNS / f"{attack}.pth"))


def scores_of(attack: str, model: torch.nn.Module | None = None) -> dict[str, float]:
    from detrojan.victim import backdoor_of

    test: Samples = load_data("cifar10", split="test")
    backdoor = backdoor_of(RUNS / f"{attack}.json")
    triggered = trigger(test, backdoor)
    scores = evaluate(model or victim_of(attack), test, triggered, preprocessing=CIFAR10)
    return {"acc": 100 * scores.acc.value, "asr": 100 * scores.asr.value, "ra": 100 * scores.ra.value}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("victims", "purify", "table"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="run only rows whose name holds this")
    parser.add_argument("--not", dest="but", default="none", help="leave out rows whose name holds this")
    arguments = parser.parse_args()
    if arguments.stage == "victims":
        make_victims(arguments.threads, arguments.only)
    elif arguments.stage == "purify":
        run_rows(arguments.threads, arguments.only, arguments.but)
    else:
        table()
