"""The work of one job, done wherever the engine puts it: train a victim, or purify one and score what comes out.

A job gets its spec and the folder of the victims, and returns a JSON document; it never touches the store.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from detrojan import architectures, checkpoint
from detrojan.backdoor import trigger
from detrojan.bench.cells import Cell, VictimSpec
from detrojan.bench.clean import draw
from detrojan.data.load import data_root, load
from detrojan.data.preprocessing import PRESETS, Preprocessing
from detrojan.data.samples import Samples, dealt
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.evaluation.features import chart
from detrojan.evaluation.hardness import hardness
from detrojan.evaluation.oracle import best_threshold
from detrojan.evaluation.protocol import Scores, der, evaluate
from detrojan.execution import Execution
from detrojan.poisoning import PoisonedFeed, poisoned
from detrojan.purification import purify
from detrojan.scales import Scale
from detrojan.victim import backdoor_of, train

Document = dict[str, Any]
ACC = "acc"
"""In a victim's outcomes by sample: its clean score, which of mAP and BLEU is not their mean."""
MASK_BINS = 20
"""Of equal width over [0, 1], for the distribution of a defense's masks."""


def weights_of(spec: VictimSpec, folder: Path) -> Path:
    """Where a victim's weights lie."""
    return folder / f"{spec.key}.safetensors"


def make_victim(spec: VictimSpec, folder: Path, device: str = "auto") -> Document:
    """Train a victim and score it; goes on where an interrupted training stopped.

    The weights, the record, the trigger and the outcomes by sample lie in `folder`, under the victim's key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, weights = time.perf_counter(), weights_of(spec, folder)
    state = weights.with_suffix(".state")
    seen, scale = _parts(spec)[1], Scale.named(spec.scale)
    victim = train(
        spec.architecture,
        seen,
        task=spec.task,
        attack=spec.method(),
        poison_rate=spec.poison_rate,
        target=spec.target,
        mapping=spec.mapping,
        sources=spec.sources,
        preprocessing=_preprocessing(spec),
        recipe=replace(scale.recipe_for(seen), **spec.recipe),
        device=device,
        seed=spec.seed,
        state=state,
        start=data_root() / "weights" / spec.start if spec.start else None,
        **_settings(spec),
    )
    victim.save(weights, force=True)
    state.unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    return {**score_victim(spec, folder, device), "seconds": seconds, "execution": victim.record["execution"]}


def score_victim(spec: VictimSpec, folder: Path, device: str = "auto") -> Document:
    """Score a victim that lies in `folder`, and keep its outcomes by sample there, for the DER of its cells."""
    scores = _scores(spec, _victim(spec, folder), folder, device)
    outcomes = {"right": scores.right} | ({} if scores.fooled is None else {"fooled": scores.fooled})
    kept = {name: _compact(outcome) for name, outcome in outcomes.items()}
    save_file({**kept, ACC: torch.tensor(scores.acc.value, dtype=torch.float64)}, _outcomes(spec, folder))
    return _estimates(scores)


def run_cell(cell: Cell, folder: Path, device: str = "auto") -> Document:
    """Purify a victim with one defense and score the result.

    A defense that refuses the network or the samples is a finding, too: the document then has its sentence. What is
    missing on this machine is none, and an error.
    """
    spec = cell.victim
    victim = _victim(spec, folder)
    clean = draw(_parts(spec)[0], cell.clean, cell.seed)
    Execution.choose(victim, device)  # refuses a device that is not there
    try:
        result = purify(
            victim,
            clean,
            task=spec.task,
            method=cell.method(),
            preprocessing=_preprocessing(spec),
            device=device,
            seed=cell.seed,
            tolerance=1.0,
            training=_training(cell, folder),
        )
    except (Unsupported, BadData, BadArgument) as refusal:
        return {"refused": str(refusal)}
    scores = _scores(spec, result.model, folder, device)
    before = _before(spec, folder, scores)
    masks = list(result.masks.values())
    document = {
        **_estimates(scores),
        "before": {"acc": before.acc.value},
        "verdict": {"accepted": result.verdict.accepted, "weak": result.verdict.weak, "reason": result.verdict.reason},
        "cost": asdict(result.cost),
        "notes": dict(result.notes),
        "settings": dict(result.settings),
        "execution": result.execution,
    }
    if masks:
        document["masks"] = torch.cat(masks).float().histc(MASK_BINS, 0, 1).int().tolist()
    if before.fooled is None:
        return document
    rating = asdict(der(before, scores, seed=cell.seed))
    asked = _hardness(cell, result.model, folder, device) | _charts(cell, victim, result.model, folder, device)
    return {**document, "der": rating, **asked, **_oracle(cell, victim, result.masks, folder, device)}


def _training(cell: Cell, folder: Path) -> Samples | None:
    """What the victim learned from, poison and all, where the defense asks for it.

    Images that a clean-label attack changed by a network of its own are not kept; theirs are stamped alone.
    """
    if not getattr(cell.method(), "needs_training_set", False):
        return None
    spec, seen = cell.victim, _parts(cell.victim)[1]
    backdoor = None if spec.attack is None else backdoor_of(weights_of(spec, folder).with_suffix(".json"))
    if backdoor is None or backdoor.attack.rate == 0:
        return seen
    rate = backdoor.attack.rate if spec.poison_rate is None else spec.poison_rate
    return poisoned(PoisonedFeed(seen, backdoor, rate=rate, seed=spec.seed))


def _hardness(cell: Cell, model: nn.Module, folder: Path, device: str) -> Document:
    """How easily the backdoor comes back, where the cell asks for it."""
    spec = cell.victim
    backdoor = backdoor_of(weights_of(spec, folder).with_suffix(".json")) if cell.hard else None
    if backdoor is None:
        return {}
    seen, test, preprocessing = _parts(spec)[1], _data(spec.data, "test"), _preprocessing(spec)
    found = hardness(model, seen, test, backdoor, preprocessing=preprocessing, device=device, seed=cell.seed)
    return asdict(found)


def _oracle(cell: Cell, victim: nn.Module, masks: Mapping[str, Tensor], folder: Path, device: str) -> Document:
    """What a threshold chosen by the attack's success would have given, where the cell asks for it."""
    spec = cell.victim
    backdoor = backdoor_of(weights_of(spec, folder).with_suffix(".json")) if cell.oracle else None
    if backdoor is None:
        return {}
    test, preprocessing = _data(spec.data, "test"), _preprocessing(spec)
    found = best_threshold(victim, masks, test, backdoor, preprocessing=preprocessing, device=device, seed=cell.seed)
    return asdict(found)


def _charts(cell: Cell, before: nn.Module, after: nn.Module, folder: Path, device: str) -> Document:
    """The maps of the features of both networks, where the cell asks for them."""
    spec = cell.victim
    backdoor = backdoor_of(weights_of(spec, folder).with_suffix(".json")) if cell.charted else None
    if backdoor is None:
        return {}
    test, preprocessing = _data(spec.data, "test"), _preprocessing(spec)
    triggered = trigger(test, backdoor)
    charts = [
        chart(model, test, triggered, preprocessing=preprocessing, device=device, seed=cell.seed)
        for model in (before, after)
    ]
    places = {
        name: (10 * found.places).round().int().tolist()
        for name, found in zip(("before", "after"), charts, strict=True)
    }
    return {"charts": {**places, "labels": charts[0].labels.tolist(), "triggered": int(charts[0].triggered.sum())}}


def _scores(spec: VictimSpec, model: nn.Module, folder: Path, device: str) -> Scores:
    test = _data(spec.data, "test")
    record = weights_of(spec, folder).with_suffix(".json")
    backdoor = None if spec.attack is None else backdoor_of(record)
    triggered = None if backdoor is None else trigger(test, backdoor)
    return evaluate(model, test, triggered, task=spec.task, preprocessing=_preprocessing(spec), device=device)


def _before(spec: VictimSpec, folder: Path, after: Scores) -> Scores:
    """The victim's own outcomes on the same test samples."""
    kept: Mapping[str, Tensor] = load_file(_outcomes(spec, folder))
    right, fooled = kept["right"].double(), kept.get("fooled")
    acc = replace(after.acc, value=float(kept.get(ACC, right.mean())))
    return replace(after, acc=acc, right=right, fooled=None if fooled is None else fooled.bool())


def _compact(outcomes: Tensor) -> Tensor:
    """Outcomes of 0 and 1 as bytes, those between as floats."""
    whole = outcomes.to(torch.uint8)
    return whole if torch.equal(whole.to(outcomes.dtype), outcomes) else outcomes.float()


def _outcomes(spec: VictimSpec, folder: Path) -> Path:
    return weights_of(spec, folder).with_suffix(".outcomes")


def _estimates(scores: Scores) -> Document:
    found = {name: asdict(e) for name in ("acc", "asr", "ra") if (e := getattr(scores, name)) is not None}
    named = {"metric": scores.metric} if scores.metric != "ACC" else {}
    return {**found, **named, **({"signature": scores.signature} if scores.signature else {})}


def _victim(spec: VictimSpec, folder: Path) -> nn.Module:
    network = architectures.build(spec.architecture, **_settings(spec))
    return checkpoint.load_into(network, checkpoint.read(weights_of(spec, folder)))


def _settings(spec: VictimSpec) -> dict[str, Any]:
    """The architecture's settings: the scale's width, the data's number of classes, and what the spec says."""
    settings = {"num_classes": _data(spec.data, "train").num_classes, **spec.architecture_settings}
    return {"width": Scale.named(spec.scale).width, **settings} if "preact_resnet" in spec.architecture else settings


def _preprocessing(spec: VictimSpec) -> Preprocessing:
    if spec.preprocessing is not None:
        return Preprocessing.parse(spec.preprocessing)
    return Preprocessing.named(spec.data) if spec.data in PRESETS else Preprocessing()


def _parts(spec: VictimSpec) -> tuple[Samples, Samples]:
    """The training set: the defender's part, and the attacker's."""
    data = _data(spec.data, "train")
    if spec.in_turns:
        return dealt(data, spec.kept)
    return data.subset(range(spec.kept)), data.subset(range(spec.kept, len(data)))


@lru_cache(maxsize=4)
def _data(name: str, split: Split) -> Samples:
    return load(name, split=split)
