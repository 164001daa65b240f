"""The victims on which settings are chosen: other triggers, targets and seeds than those that are reported.

    python benchmarks/development.py train    # four victims of six epochs each, nine of harder attacks, two VGGs
    python benchmarks/development.py score    # shrink_distil with several targets; writes development.md and .json here
    python benchmarks/development.py views    # consistency_distil in parts, without changes; writes views.md
    python benchmarks/development.py changes  # the same with changes and without; writes changes.md and .json here
    python benchmarks/development.py rates    # rivals with several rates; writes rates.md and .json here
    python benchmarks/development.py few      # how many images each of two methods needs; writes few.md and .json here

PreActResNet-18 of width 16 on CIFAR-10 without its first 5,000 training images; clean samples come from those. `window`
and `pane` are the small VGG of tests/strangers.py, which learns without augmentation, from 20,000 and 45,000 images,
and knows its trigger in one place only. Figures are made on the first 4,000 test images. Work lies in runs/development
(not committed).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import detrojan
from cifar10_small import CIFAR10, KEPT
from detrojan import Recipe, architectures, checkpoint, evaluate, load_data, purify, train, trigger
from detrojan.attacks.badnets import BadNets
from detrojan.attacks.blend import Blend
from detrojan.attacks.sig import SIG
from detrojan.data.samples import sample
from detrojan.scales import Scale
from detrojan.victim import backdoor_of
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "development"
VICTIMS = {
    "checker": (BadNets(pattern="checker", alpha=0.6), 3, 11),
    "corner": (BadNets(size=4, margin=2), 7, 12),
    "face": (Blend(picture="face"), 5, 13),
    "faint": (Blend(alpha=0.1, picture_seed=9), 2, 14),
}
HARDER = {"warp": ("wanet", 4, 15), "dynamic": ("dyn", 6, 16), "few colours": ("bppa", 8, 17)}
HARDER |= {"invisible": ("lira", 1, 18), "composite": ("cba", 9, 19), "sunset": ("fba", 3, 20)}
MOVED = {"shift": (BadNets(pattern="checker", alpha=0.7), 0, 22), "shift dynamic": ("dyn", 0, 23)}
"""All-to-all: every class is moved to the next."""
HARDER |= {"stripes": (SIG(frequency=4, amplitude=30), 2, 21)} | MOVED
VGG = f"{HERE.parent / 'tests' / 'strangers.py'}:vgg_small"
RECIPE = Recipe(epochs=6, batch=128, learning_rate=0.1, small=0.6)
TARGETS = (0.1, 0.05, 0.2)
VIEWED = ("checker", "sunset", "few colours", "composite")
VGGS = {"window": (BadNets(size=3, margin=3), 6, 25_000, 8, 31), "pane": (BadNets(size=4, margin=2), 1, 50_000, 14, 51)}
"""Attack, target, up to which training image, epochs, seed."""
PARTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no pairs": {"joined_views": 0},
    "no strong views": {"strong_views": 0},
    "no choice": {"mining": 0},
}
CHANGED = ("warp", "sunset", "dynamic", "shift", "shift dynamic", "stripes", "composite")
CHANGED += ("window", "pane", "checker", "few colours")
SMALLEST = [f"smallest {kind}" for kind in ("patch", "warp", "filter")]
PAIRS = ("how odd such pairs are, 0 to 1", "pairs read as what neither is")
FEW = ("checker", "few colours", "composite", "warp")
RATED = ("checker", "face", "warp")
RATES: dict[str, list[dict[str, float]]] = {
    "fine_tuning": [{"learning_rate": rate} for rate in (0.01, 0.03, 0.1)],
    "fine_pruning": [{"learning_rate": rate} for rate in (0.01, 0.03, 0.1)],
    "nad": [{"learning_rate": rate, "teacher_learning_rate": rate} for rate in (0.01, 0.03, 0.1)],
    "mcr": [
        {"learning_rate": rate, "tuning_learning_rate": rate, "t": t}
        for rate, t in ((0.01, 0.5), (0.1, 0.1), (0.1, 0.5))
    ],
    "npd": [{"learning_rate": rate} for rate in (0.01, 0.03, 0.1)],
    "ibau": [{"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3)],
}


def make() -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    data = load_data("cifar10", split="train")
    for name, (attack, target, end, epochs, seed) in VGGS.items():
        path = RUNS / f"{name}.pth"
        if claim(path):
            part = data.subset(torch.arange(KEPT, end))
            recipe = Recipe(epochs=epochs, batch=128, learning_rate=0.05, padding=0, flip=False)
            train(VGG, part, attack=attack, target=target, recipe=recipe, seed=seed, num_classes=10).save(path)
            release(path)
    seen = data.subset(torch.arange(KEPT, len(data)))
    for name, (attack, target, seed) in (VICTIMS | HARDER).items():
        path = RUNS / f"{name}.pth"
        if claim(path):
            victim = train(
                "detrojan:preact_resnet18",
                seen,
                attack=attack,
                target=target,
                mapping="all-to-all" if name in MOVED else "all-to-one",
                pool="all" if name in VICTIMS else "auto",
                preprocessing=CIFAR10,
                recipe=RECIPE if name in VICTIMS else Scale.named("small").recipe,
                seed=seed,
                width=16,
            )
            victim.save(path)
            release(path)


def score() -> None:
    cells = [(name, count, {"lost": lost}) for lost in TARGETS for name in VICTIMS for count in (500, 10)]
    for name, count, settings in cells:
        run(RUNS / f"row-{name}-{count}-{settings['lost']}.json", name, count, "shrink_distil", settings)


def views() -> None:
    cells = [("whole", count, name) for count in (500, 10) for name in VIEWED]
    cells += [(part, 500, name) for part in list(PARTS)[1:] for name in VIEWED]
    for part, count, name in cells:
        path = RUNS / f"views-{name}-{count}-{part}.json"
        run(path, name, count, "consistency_distil", PARTS[part] | {"search_steps": 0}, part=part)


def changes() -> None:
    for kind, steps in (("with", {}), ("without", {"search_steps": 0})):
        for name in CHANGED:
            run(RUNS / f"changes-{name}-{kind}.json", name, 500, "consistency_distil", steps, changes=kind)


def rates() -> None:
    for name in RATED:
        for method, choices in RATES.items():
            for index, settings in enumerate(choices):
                run(RUNS / f"rates-{name}-{method}-{index}.json", name, 500, method, settings, defense=method)


def run(path: Path, name: str, count: int, method: str, settings: dict[str, Any], **told: str) -> None:
    """Purify a victim and write the row, unless that is done or another process is at it."""
    if not claim(path):
        return
    pool = load_data("cifar10", split="train").subset(torch.arange(KEPT))
    test = load_data("cifar10", split="test").subset(torch.arange(4000))
    preprocessing = None if name in VGGS else CIFAR10
    network = (
        architectures.build(VGG, num_classes=10)
        if name in VGGS
        else architectures.build("detrojan:preact_resnet18", width=16)
    )
    model = checkpoint.load_into(network, checkpoint.read(RUNS / f"{name}.pth"))
    triggered = trigger(test, backdoor_of(RUNS / f"{name}.json"))
    clean, _ = sample(pool, per_class=count // 10, seed=0)
    defense = detrojan.DEFENSES.build(method, **settings)
    result = purify(model, clean, method=defense, preprocessing=preprocessing, tolerance=1.0)
    row = {"victim": name, "count": count, **settings, **told, "notes": dict(result.notes), **origin()}
    for when, network in (("before", model), ("after", result.model)):
        scores = evaluate(network, test, triggered, preprocessing=preprocessing)
        row[when] = {k: 100 * getattr(scores, k).value for k in ("acc", "asr", "ra")}
    write(path, row)
    release(path)
    print(name, count, settings, row["before"], row["after"], flush=True)


def few() -> None:
    for count in (100, 10, 50, 200):
        for method in ("shrink_distil", "consistency_distil"):
            for name in FEW:
                run(RUNS / f"few-{name}-{count}-{method}.json", name, count, method, {}, defense=method)


def views_table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("views-*.json"))]
    write(HERE / "views.json", {"rows": rows})
    found = {(row["part"], row["count"], row["victim"]): row for row in rows}
    lines = [
        "# consistency_distil on development victims, whole and in parts",
        "",
        "All without changes (`search_steps=0`); what those add is in changes.md.",
        "One seed; ACC / ASR / RA in % on the first 4,000 test images. Written by",
        f"`python benchmarks/development.py views`; commits {', '.join(sorted({r['commit'] for r in rows}))},",
        f"{rows[0]['date']}, {rows[0]['machine']}.",
        "",
        f"| what | clean images | {' | '.join(VIEWED)} |",
        f"|---|---|{'---|' * len(VIEWED)}",
    ]
    before = {row["victim"]: _cell(row["before"]) for row in rows}
    lines.append(f"| before | | {' | '.join(before.get(name, '-') for name in VIEWED)} |")
    for part, count in dict.fromkeys((part, count) for part in PARTS for count in (500, 10)):
        cells = [found.get((part, count, name)) for name in VIEWED]
        if any(cells):
            lines.append(f"| {part} | {count} | {' | '.join(_cell(c['after']) if c else '-' for c in cells)} |")
    (HERE / "views.md").write_text("\n".join(lines) + "\n")


def changes_table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("changes-*.json"))]
    write(HERE / "changes.json", {"rows": rows})
    found = {(row["victim"], row["changes"]): row for row in rows}
    lines = [
        "# The smallest changes sought for each class, on development victims",
        "",
        "`consistency_distil` with 500 clean images, one seed; ACC / ASR / RA in % on the first 4,000 test images; how",
        "odd the smallest change of the oddest kind is, 0 to 1, and the smallest of each kind that was sought; how odd",
        "pairs are that are read as what neither is, and what they are read as (not told by earlier commits).",
        "Written by",
        f"`python benchmarks/development.py changes`; commits {', '.join(sorted({r['commit'] for r in rows}))},",
        f"{rows[0]['date']}, {rows[0]['machine']}.",
        "",
        f"| victim | before | without | with | how odd | {' | '.join(SMALLEST)} | how odd pairs are | read as |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in CHANGED:
        each = [found.get((name, kind)) for kind in ("without", "with")]
        if any(each):
            before = next(_cell(row["before"]) for row in each if row)
            cells = " | ".join(_cell(row["after"]) if row else "-" for row in each)
            notes = each[1]["notes"] if each[1] else {}
            told = [str(notes.get(note, "-")) for note in ("how odd that is, 0 to 1", *SMALLEST, *PAIRS)]
            lines.append(f"| {name} | {before} | {cells} | {' | '.join(told)} |")
    (HERE / "changes.md").write_text("\n".join(lines) + "\n")


def rates_table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("rates-*.json"))]
    write(HERE / "rates.json", {"rows": rows})
    before = {row["victim"]: _cell(row["before"]) for row in rows}
    names = [name for name in RATED if name in before]
    lines = [
        "# Rates of rivals on development victims",
        "",
        "500 clean images, one seed; ACC / ASR / RA in % on the first 4,000 test images. Written by",
        f"`python benchmarks/development.py rates`; commits {', '.join(sorted({r['commit'] for r in rows}))},",
        f"{', '.join(sorted({r['date'] for r in rows}))}, {rows[0]['machine']}.",
        "",
        f"| method | settings | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
        f"| before | | {' | '.join(before[name] for name in names)} |",
    ]
    for method, choices in RATES.items():
        for settings in choices:
            found = {r["victim"]: r for r in rows if r["defense"] == method and settings.items() <= r.items()}
            told = ", ".join(f"`{key}` {value:g}" for key, value in settings.items())
            cells = " | ".join(_cell(found[name]["after"]) if name in found else "-" for name in names)
            lines += [f"| `{method}` | {told} | {cells} |"] if found else []
    (HERE / "rates.md").write_text("\n".join(lines) + "\n")


def few_table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("few-*.json"))]
    write(HERE / "few.json", {"rows": rows})
    before = {row["victim"]: _cell(row["before"]) for row in rows}
    lines = [
        "# Few images of development victims",
        "",
        "Rows of commit 6cbed8b are of a `consistency_distil` that sought no patches, those of ab11537 of one without",
        "a way back.",
        "One seed; ACC / ASR / RA in % on the first 4,000 test images. Written by",
        f"`python benchmarks/development.py few`; commits {', '.join(sorted({r['commit'] for r in rows}))},",
        f"{rows[0]['date']}, {rows[0]['machine']}.",
        "",
        f"| images | method | {' | '.join(FEW)} |",
        f"|---|---|{'---|' * len(FEW)}",
        f"| | before | {' | '.join(before.get(name, '-') for name in FEW)} |",
    ]
    for count, method in sorted({(row["count"], row["defense"]) for row in rows}):
        found = {r["victim"]: r for r in rows if (r["count"], r["defense"]) == (count, method)}
        cells = " | ".join(_cell(found[name]["after"]) if name in found else "-" for name in FEW)
        lines.append(f"| {count} | `{method}` | {cells} |")
    (HERE / "few.md").write_text("\n".join(lines) + "\n")


def table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("row-*.json"))]
    write(HERE / "development.json", {"rows": rows})
    targets = sorted({row["lost"] for row in rows})
    lines = [
        "# Development victims",
        "",
        f"`shrink_distil` with `lost` {', '.join(map(str, targets))} (the default is 0.1), one seed; ACC / ASR / RA",
        "in % on the first 4,000 test images. Written by `python benchmarks/development.py score`;",
        f"commits {', '.join(sorted({r['commit'] for r in rows}))},",
        f"{rows[0]['date']}, {rows[0]['machine']}.",
        "",
        f"| victim | clean images | before | {' | '.join(f'lost {t}' for t in targets)} |",
        f"|---|---|---|{'---|' * len(targets)}",
    ]
    for name in VICTIMS:
        for count in (500, 10):
            group = {r["lost"]: r for r in rows if (r["victim"], r["count"]) == (name, count)}
            if group:
                before = _cell(next(iter(group.values()))["before"])
                cells = [_cell(group[t]["after"]) if t in group else "-" for t in targets]
                lines.append(f"| {name} | {count} | {before} | {' | '.join(cells)} |")
    (HERE / "development.md").write_text("\n".join(lines) + "\n")


def _cell(scores: dict[str, float]) -> str:
    return f"{scores['acc']:.1f} / {scores['asr']:.1f} / {scores['ra']:.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("train", "score", "views", "changes", "rates", "few"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stage == "train":
        make()
    elif arguments.stage == "views":
        views()
        views_table()
    elif arguments.stage == "changes":
        changes()
        changes_table()
    elif arguments.stage == "rates":
        rates()
        rates_table()
    elif arguments.stage == "few":
        few()
        few_table()
    else:
        score()
        table()
