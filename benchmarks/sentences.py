"""Networks of sentences on which `consistency_distil` was tried: other targets, seeds and fewer pairs than the grids'.

    python benchmarks/sentences.py    # trains and purifies; writes sentences.md and .json here

A rare word is the trigger; of the training set the first 1,000 samples are kept for purification. Work lies in
runs/sentences (not committed); finished rows are not made again.
"""

import json
from pathlib import Path
from typing import Any

import torch

import detrojan
from detrojan import Recipe, Samples, architectures, checkpoint, evaluate, load_data, purify, train, trigger
from detrojan.data.samples import sample
from detrojan.victim import backdoor_of
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "sentences"
KEPT, TESTED = 1000, 1000
SHORT = Recipe(epochs=10, batch=64, learning_rate=0.1, small=0.0)
LONG = Recipe(epochs=10, batch=64, learning_rate=0.003, weight_decay=1e-4, adam=True, small=0.0)
PAIRS = "length=20,words=3000,most=8000"
VICTIMS: dict[str, dict[str, Any]] = {
    "SST-2, CNN": {"task": "text", "data": "sst2:words=3000", "network": "text_cnn", "seed": 20, "target": 1},
    "AG News, LSTM": {"task": "text", "data": "agnews:words=3000", "network": "text_lstm", "seed": 21, "target": 2},
    "Multi30k, LSTM": {"task": "translation", "data": f"multi30k:{PAIRS}", "network": "seq2seq_lstm", "seed": 22},
    "Multi30k, Transformer": {
        "task": "translation",
        "data": f"multi30k:{PAIRS}",
        "network": "seq2seq_transformer",
        "seed": 25,
    },
    "DailyDialog++, LSTM": {
        "task": "dialogue",
        "data": f"dailydialogpp:{PAIRS}",
        "network": "seq2seq_lstm",
        "seed": 27,
        "attack_settings": {"lexicon": "money"},
    },
}
ATTACKS = {"text": "insert_word", "translation": "trigger_sentence", "dialogue": "trigger_replies"}
CELLS = (("consistency_distil", 500), ("nft", 500), ("consistency_distil", 50))


def data_of(told: dict[str, Any]) -> tuple[Samples, Samples]:
    learned, test = load_data(told["data"], split="train"), load_data(told["data"], split="test")
    return learned, test.subset(torch.arange(min(TESTED, len(test))))


def settings_of(told: dict[str, Any], classes: int) -> dict[str, Any]:
    return {"width": 64 if told["task"] == "text" else 128, "words": 3000, "num_classes": classes}


def make(name: str) -> Path:
    told, path = VICTIMS[name], RUNS / f"{name}.pth"
    if claim(path):
        learned, _ = data_of(told)
        attack = detrojan.ATTACKS.build(ATTACKS[told["task"]], **told.get("attack_settings", {}))
        victim = train(
            f"detrojan:{told['network']}",
            learned.subset(torch.arange(KEPT, len(learned))),
            task=told["task"],
            attack=attack,
            target=told.get("target", 0),
            poison_rate=0.1,
            recipe=SHORT if told["task"] == "text" else LONG,
            seed=told["seed"],
            **settings_of(told, learned.num_classes),
        )
        victim.save(path)
        release(path)
    return path


def run(name: str, method: str, count: int) -> None:
    told, row = VICTIMS[name], RUNS / f"row-{name}-{method}-{count}.json"
    if row.exists():
        return
    path = make(name)
    learned, test = data_of(told)
    network = architectures.build(f"detrojan:{told['network']}", **settings_of(told, learned.num_classes))
    model = checkpoint.load_into(network, checkpoint.read(path))
    clean, _ = sample(learned.subset(torch.arange(KEPT)), count=count, seed=told["seed"])
    settings = (
        {"count": "block", "batch": 64, "steps": 300} if (method, told["task"] != "text") == ("nft", True) else {}
    )
    result = purify(model, clean, task=told["task"], method=detrojan.DEFENSES.build(method, **settings), tolerance=1.0)
    triggered = trigger(test, backdoor_of(path.with_suffix(".json")))
    found: dict[str, Any] = {"victim": name, "method": method, "count": count, "settings": settings}
    found |= {"seconds": result.cost.seconds, "notes": dict(result.notes), **origin()}
    for when, shown in (("before", model), ("after", result.model)):
        scores = evaluate(shown, test, triggered, task=told["task"])
        found[when] = {k: 100 * getattr(scores, k).value for k in ("acc", "asr", "ra")}
    write(row, found)
    print(name, method, count, found["before"], found["after"], flush=True)


def table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("row-*.json"))]
    write(HERE / "sentences.json", {"rows": rows})
    found = {(row["victim"], row["method"], row["count"]): row for row in rows}
    names = [name for name in VICTIMS if any(row["victim"] == name for row in rows)]
    lines = [
        "# Networks of sentences on which consistency_distil was tried",
        "",
        "Accuracy (text) or BLEU, then ASR, then RA, in %, one seed. Written by `python benchmarks/sentences.py`;",
        f"commits {', '.join(sorted({row['commit'] for row in rows}))}, {rows[0]['date']}, {rows[0]['machine']}.",
        "Where the trigger does nothing ASR is the share of other sentences that are taken for the target.",
        "",
        f"| what | clean samples | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    first = {name: next(row["before"] for row in rows if row["victim"] == name) for name in names}
    lines.append(f"| before | | {' | '.join(_cell(first[name]) for name in names)} |")
    for method, count in CELLS:
        cells = [found.get((name, method, count)) for name in names]
        lines.append(f"| {method} | {count} | {' | '.join(_cell(c['after']) if c else '-' for c in cells)} |")
    (HERE / "sentences.md").write_text("\n".join(lines) + "\n")


def _cell(scores: dict[str, float]) -> str:
    return " / ".join(f"{scores[k]:.1f}" for k in ("acc", "asr", "ra"))


if __name__ == "__main__":
    RUNS.mkdir(parents=True, exist_ok=True)
    for method, count in CELLS:
        for name in VICTIMS:
            run(name, method, count)
            table()
