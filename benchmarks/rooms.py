"""Why a hundred clean clips cost so much: do they come from the rooms and videos that the victim learned from?

    python benchmarks/rooms.py     # writes rooms.md and .json here

The grid `video` sets the first clips of each class aside for the defender, as they are stored: one room, or source
video, after the other. Here a victim of BadNets is trained and purified that way, and with the groups (the pack's rooms
and source videos) in random order before; all else is equal. Work lies in runs/rooms (not committed).
"""

import json
from pathlib import Path

import torch

import detrojan
from detrojan import Preprocessing, Recipe, evaluate, load_data, purify, train, trigger
from detrojan.attacks.badnets import BadNets
from detrojan.data.samples import Samples, dealt
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "rooms"
DATA, KEPT, SEED = "action4:frames=8,size=56", 100, 31
ORDERS = ("as stored", "groups in random order")
METHODS = ("nft", "fine_tuning", "consistency_distil")
RECIPE = Recipe(epochs=40, batch=32, learning_rate=0.05, weight_decay=1e-3, padding=2, small=0.0)


def parts(order: str) -> tuple[Samples, Samples]:
    """The defender's clips and the attacker's."""
    shuffle = None if order == "as stored" else SEED
    return dealt(load_data(DATA, split="train", shuffle=shuffle), KEPT)


def run(order: str) -> None:
    """Train a victim, purify it with each method, write its rows."""
    path = RUNS / f"{order}.json"
    if not claim(path):
        return
    clean, seen = parts(order)
    test = load_data(DATA, split="test")
    about = {"task": "video", "preprocessing": Preprocessing.parse("mean=.45;std=.25")}
    victim = train(
        "detrojan:r3d10",
        seen,
        attack=BadNets(size=4),
        poison_rate=0.2,
        target=2,
        recipe=RECIPE,
        seed=SEED,
        width=8,
        **about,
    )
    triggered = trigger(test, victim.backdoor)
    row = {"order": order, **origin(), "on the clean clips": 100 * evaluate(victim.model, clean, **about).acc.value}

    def score(model: torch.nn.Module) -> dict[str, float]:
        scores = evaluate(model, test, triggered, **about)
        return {name: 100 * getattr(scores, name).value for name in ("acc", "asr")}

    row["before"] = score(victim.model)
    for method in METHODS:
        defense = detrojan.DEFENSES.build(method, batch=32)
        row[method] = score(purify(victim.model, clean, method=defense, tolerance=1.0, seed=SEED, **about).model)
        print(order, method, row["before"], row[method], flush=True)
    write(path, row)
    release(path)


def table() -> None:
    rows = [json.loads((RUNS / f"{order}.json").read_text()) for order in ORDERS]
    write(HERE / "rooms.json", {"rows": rows})
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    lines = [
        "# Where the clean clips come from",
        "",
        f"ACC / ASR in %, one victim each (BadNets, {KEPT} clean clips, seed {SEED}). Written by",
        f"`python benchmarks/rooms.py`; commits {commits}, {rows[0]['date']}, {rows[0]['machine']}.",
        "",
        f"| the pack's clips | ACC on the clean clips | before | {' | '.join(f'`{name}`' for name in METHODS)} |",
        f"|---|---|---|{'---|' * len(METHODS)}",
    ]
    for row in rows:
        cells = [f"{row[name]['acc']:.1f} / {row[name]['asr']:.1f}" for name in ("before", *METHODS)]
        lines.append(f"| {row['order']} | {row['on the clean clips']:.1f} | {' | '.join(cells)} |")
    (HERE / "rooms.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for each in ORDERS:
        run(each)
    table()
