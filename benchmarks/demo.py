"""Which settings the demo uses, chosen on other victims than the one that it shows.

    python benchmarks/demo.py [TASK]    # writes demo.json for images, demo-TASK.json for others

The demo shows the victim of seed 0. Here victims of other seeds are purified by each candidate with as many clean
samples a class as the demo shows; the demo takes the candidate with the best mean DER.
"""

import sys
from pathlib import Path
from statistics import mean
from typing import Any

from detrojan import purify, trigger
from detrojan.cli.stories import story
from detrojan.cli.verbs.demo import parts, scores_of, train_victim
from detrojan.data.samples import sample
from detrojan.defenses import DEFENSES
from detrojan.evaluation.protocol import der
from detrojan.tasks import TASKS
from provenance import origin
from rows import write

SEEDS = {"image": (11, 12, 13, 14)}
OTHER_SEEDS = (11, 12)
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "nft": ("nft", {"steps": 300}),
    "neuron_masks": ("neuron_masks", {"steps": 300}),
    "shrink_distil": ("shrink_distil", {}),
    "shrink_distil, lost 0.2": ("shrink_distil", {"lost": 0.2}),
    **{
        f"nft on the weights, rate {rate}, {steps} steps": (
            "nft",
            {"tune": "weights", "weight_learning_rate": rate, "steps": steps},
        )
        for rate, steps in ((0.01, 300), (0.02, 300), (0.05, 150), (0.05, 300), (0.1, 300))
    },
}


def main() -> None:
    """Score every candidate on every victim."""
    told, rows = story(sys.argv[1] if len(sys.argv) > 1 else "image"), []
    task = TASKS.build(told.task, **told.task_settings)
    for seed in SEEDS.get(told.task, OTHER_SEEDS):
        clean, seen, test = parts(told, seed)
        victim = train_victim(told, seen, seed)
        triggered = trigger(test, victim.backdoor)
        before = scores_of(told, victim.model, test, triggered)
        for name, (method, settings) in CANDIDATES.items():
            for per_class in told.per_class:
                few = sample(clean, per_class=per_class, seed=seed)[0]
                result = purify(
                    victim.model,
                    few,
                    task=task,
                    method=DEFENSES.build(method, **settings),
                    preprocessing=told.prepared(),
                    seed=seed,
                )
                after = scores_of(told, result.model, test, triggered)
                figures = {"acc": after.acc.value, "asr": after.asr.value, "der": der(before, after).value}
                rows.append({"candidate": name, "seed": seed, "per_class": per_class, **figures})
                print(rows[-1], flush=True)
    means = {
        name: {m: round(100 * mean(r[m] for r in rows if r["candidate"] == name), 1) for m in ("acc", "asr", "der")}
        for name in CANDIDATES
    }
    best = max(means, key=lambda name: means[name]["der"])
    print(means, best, sep="\n")
    name = "demo.json" if told.task == "image" else f"demo-{told.task}.json"
    write(Path(__file__).with_name(name), {"chosen": best, "means": means, "rows": rows, **origin()})


if __name__ == "__main__":
    main()
