"""`detrojan evaluate`: how well a network answers, and how often a known trigger fools it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrojan.cli import reading
from detrojan.cli.console import Screen, percent
from detrojan.cli.options import IMAGES, RUNNING, TRIGGER, Images, Network, Running, Split, Trigger
from detrojan.errors import BadArgument

if TYPE_CHECKING:
    from detrojan.evaluation.protocol import Scores
    from detrojan.intervals import Estimate

METRICS = {"ACC": "clean accuracy (ACC)", "mAP": "mean average precision (mAP)", "BLEU": "corpus BLEU"}
NAMES = {
    "acc": "clean accuracy (ACC)",
    "asr": "attack success rate (ASR)",
    "ra": "robust accuracy (RA)",
}


def run(
    model: Path,
    /,
    *,
    network: Network,
    data: str,
    split: Split = "test",
    task: str | None = None,
    trigger: Trigger = TRIGGER,
    victim: Path | None = None,
    before: Path | None = None,
    images: Images = IMAGES,
    running: Running = RUNNING,
) -> int:
    """Score a network: ACC and, under a known trigger, ASR, RA and DER, each with its 95 % interval.

    Args:
        model: The weights to score.
        data: Test samples: a folder with one directory per class, a .npz or parquet file, or a data set's name.
        split: The part of the data set.
        task: What the network does: a name of `detrojan list tasks`; by default the one that fits the samples.
        victim: The record that `detrojan train` wrote beside its weights; it names the trigger and, where --preprocess
            is left out, the preprocessing.
        before: The weights before purification, on the same architecture, for the defense effectiveness rating (DER).
        network: See `Network`.
        trigger: See `Trigger`.
        images: See `Images`.
        running: See `Running`.
    """
    screen = Screen(as_json=running.json)
    from detrojan.backdoor import trigger as stamp
    from detrojan.evaluation.protocol import der, evaluate
    from detrojan.victim import preprocessing_of

    backdoor = reading.backdoor(trigger, victim)
    if before is not None and backdoor is None:
        raise BadArgument("--before compares attack success, so it needs a trigger: give --attack or --victim")
    preprocessing = reading.preprocessing(images, victim)
    if victim is not None and preprocessing != preprocessing_of(victim):
        screen.note(f"{victim} was trained with another preprocessing than --preprocess {images.preprocess}.")
    networks = {path: reading.load(path, network)[0] for path in (model, before) if path is not None}
    samples = reading.samples(data, images, split=split)
    kind = reading.task(task, samples)
    triggered = None if backdoor is None else stamp(samples, backdoor)
    scores: dict[Path, Scores] = {}
    with screen.progress() as on_step:
        for path, loaded in networks.items():
            scores[path] = evaluate(
                loaded,
                samples,
                triggered,
                task=kind,
                preprocessing=preprocessing,
                device=running.device,
                precision=running.precision,
                on_step=on_step,
            )
    estimates = estimates_of(scores[model])
    if before is not None:
        estimates["defense effectiveness (DER)"] = der(scores[before], scores[model], seed=running.seed)
    show(screen, f"{model} on {samples.name}, %", estimates, signature=scores[model].signature)
    screen.finish(_document(model, samples.name, scores[model], estimates, before, scores))
    return 0


def estimates_of(scores: "Scores") -> "dict[str, Estimate]":
    """The figures of a score that there are, by the name that a reader knows."""
    titles = {**NAMES, "acc": METRICS.get(scores.metric, scores.metric)}
    found = {title: getattr(scores, name) for name, title in titles.items()}
    return {title: estimate for title, estimate in found.items() if estimate is not None}


def show(screen: Screen, title: str, estimates: "dict[str, Estimate]", *, signature: str = "") -> None:
    """The table of the figures, and by which rules the first one was computed."""
    rows = [
        (name, percent(found.value), f"{percent(found.low)} to {percent(found.high)}", found.count)
        for name, found in estimates.items()
    ]
    screen.table(title, ("", "value", "95 % interval", "samples"), rows)
    if signature:
        screen.say(f"sacrebleu {signature}", style="dim")


def scores_document(scores: "Scores") -> dict[str, Any]:
    """The figures of a score for JSON, without the outcome of each sample."""
    return {name: getattr(scores, name) for name in (*NAMES, "metric", "signature", "per_class")}


def _document(
    model: Path,
    data: str,
    scores: "Scores",
    estimates: "dict[str, Estimate]",
    before: Path | None,
    every: "dict[Path, Scores]",
) -> dict[str, Any]:
    return {
        "verb": "evaluate",
        "model": model,
        "data": data,
        **scores_document(scores),
        "der": estimates.get("defense effectiveness (DER)"),
        "before": None if before is None else {"model": before, **scores_document(every[before])},
        "exit_code": 0,
    }
