"""`detrojan demo`: the whole story in a minute or a few, for each task on real or drawn data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from detrojan.cli import drawings, outputs
from detrojan.cli.console import Screen, percent
from detrojan.cli.options import Flag
from detrojan.cli.stories import Story, story
from detrojan.cli.verbs.evaluate import scores_document

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detrojan.backdoor import Triggered
    from detrojan.data.samples import Samples
    from detrojan.evaluation.protocol import Scores
    from detrojan.progress import OnStep, Step
    from detrojan.purification import Result
    from detrojan.report.inputs import Exchange
    from detrojan.victim import Victim

TALK = """\
BLEU: how alike the answers and the right ones are.  ASR: sentences with the trigger word that are answered as the
attacker wants (!).  RA: how right their answers are all the same, as the mean BLEU of single sentences."""
LEGEND = """\
ACC, mAP: how well clean inputs are recognised.  ASR: inputs with the trigger taken for what the attacker wants.
RA: inputs with the trigger recognised all the same.  Clean samples are per class; the victim never saw them.
A weak verdict had no samples to hold back: it was made on those that were tuned on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One purification and how it scores."""

    per_class: int
    result: "Result"
    scores: "Scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Victim:
    """The network under attack, the test set without and with the trigger, and how it scores on both."""

    made: "Victim"
    test: "Samples"
    triggered: "Triggered"
    scores: "Scores"


def run(
    *,
    task: str = "image",
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("detrojan-demo"),
    seed: int = 0,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Make a backdoored network and purify it with few clean samples a class, in a minute or a few.

    Args:
        task: What the network does: image, multilabel, detection, video, pointcloud, translation or dialogue. Clips,
            point clouds and sentences are those of a known data set, where one lies below DETROJAN_DATA, else drawn by
            the program, as are the scenes of multilabel and detection; digits come with scikit-learn.
        out: The folder for the report page and the models.
        seed: The same seed gives the same result on one machine.
        force: Overwrite what an earlier demo left there.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    told = story(task)
    told.check_extra()
    files = {name: out / name for name in ("victim.safetensors", "victim.json", "purified.safetensors", "report.html")}
    if out.is_dir():
        outputs.check(*files.values(), force=force)
    else:
        outputs.check(out, force=force)
    clean, seen, test = parts(told, seed)
    told = told.fitted(test)
    screen.say(f"{told.sentence}\n")
    with screen.progress() as on_step:
        victim = _scored(told, train_victim(told, seen, seed, on_step), test)
        attempts = [_attempt(told, victim, clean, per_class, seed, on_step) for per_class in told.per_class]
    _tell(screen, told, victim, attempts)
    with outputs.uninterrupted():
        _write(files, told, victim, attempts, seed, force=force)
    _next(screen, files, test.name)
    screen.finish(_document(told, victim, attempts, files, seed))
    return 0


def parts(told: Story, seed: int) -> "tuple[Samples, Samples, Samples]":
    """The defender's clean samples, what the victim sees, and the test set; no two of them overlap."""
    from detrojan.data.samples import sample

    every, test = told.samples()
    clean, taken = sample(every, per_class=max(told.per_class), seed=seed)
    kept = set(taken.tolist())
    return clean, every.subset([index for index in range(len(every)) if index not in kept]), test


def train_victim(told: Story, seen: "Samples", seed: int, on_step: "OnStep | None" = None) -> "Victim":
    """The network under attack."""
    from detrojan.attacks import ATTACKS
    from detrojan.recipe import Recipe
    from detrojan.tasks import TASKS
    from detrojan.victim import train

    def named(step: "Step") -> None:
        if on_step is not None:
            on_step(replace(step, stage=f"{step.stage} the victim" if step.stage == "training" else step.stage))

    return train(
        told.architecture,
        seen,
        task=TASKS.build(told.task, **told.task_settings),
        attack=ATTACKS.build(told.attack, **told.attack_settings),
        poison_rate=told.poison_rate,
        target=told.target,
        preprocessing=told.prepared(),
        recipe=Recipe(**told.recipe),
        seed=seed,
        on_step=named,
        num_classes=seen.num_classes,
        **told.architecture_settings,
    )


def _scored(told: Story, made: "Victim", test: "Samples") -> _Victim:
    from detrojan.backdoor import trigger

    assert made.backdoor is not None
    triggered = trigger(test, made.backdoor)
    return _Victim(made=made, test=test, triggered=triggered, scores=scores_of(told, made.model, test, triggered))


def scores_of(told: Story, model: "nn.Module", test: "Samples", triggered: "Triggered") -> "Scores":
    """How a network of the story does on the test set, without and with the trigger."""
    from detrojan.evaluation.protocol import evaluate
    from detrojan.tasks import TASKS

    return evaluate(
        model,
        test,
        triggered,
        task=TASKS.build(told.task, **told.task_settings),
        preprocessing=told.prepared(),
    )


def _attempt(told: Story, victim: _Victim, clean: "Samples", per_class: int, seed: int, on_step: "OnStep") -> _Attempt:
    from detrojan.data.samples import sample
    from detrojan.defenses import DEFENSES
    from detrojan.purification import purify
    from detrojan.tasks import TASKS

    def named(step: "Step") -> None:
        on_step(replace(step, stage=f"purifying, {told.portion(per_class)}"))

    few = sample(clean, per_class=per_class, seed=seed)[0]
    task = TASKS.build(told.task, **told.task_settings)
    method = DEFENSES.build(told.method, **told.settings)
    result = purify(
        victim.made.model,
        few,
        task=task,
        method=method,
        preprocessing=told.prepared(),
        seed=seed,
        on_step=named,
    )
    scores = scores_of(told, result.model, victim.test, victim.triggered)
    return _Attempt(per_class=per_class, result=result, scores=scores)


def _tell(screen: Screen, told: Story, victim: _Victim, attempts: list[_Attempt]) -> None:
    if victim.test.sentences:
        screen.say(drawings.exchanges(_exchanges(victim, attempts[-1], most=2)))
    elif shown := _panels(told, victim, attempts[-1].result):
        screen.say(drawings.beside(shown, across=told.across))
    rows = [("victim", *_figures(victim.scores), "", "")]
    rows += [
        (
            f"purified with {each.per_class}",
            *_figures(each.scores),
            f"{each.result.cost.seconds:.1f}",
            ("accepted" if each.result.verdict.accepted else "rejected")
            + (", weak" if each.result.verdict.weak else ""),
        )
        for each in attempts
    ]
    screen.table(
        f"{len(victim.test)} test samples of {victim.test.name}, %",
        ("", victim.scores.metric, "ASR", "RA", "seconds", "verdict"),
        rows,
    )
    screen.say(TALK if victim.test.sentences else LEGEND, style="dim")
    if victim.scores.signature:
        screen.say(f"sacrebleu {victim.scores.signature}", style="dim")


def _panels(told: Story, victim: _Victim, purified: "Result") -> "list[tuple[str, Tensor]]":
    """The first triggered test sample that fools the victim: clean, and as both networks take it with the trigger."""
    from detrojan.report.inputs import title

    test, triggered = victim.test, victim.triggered
    assert victim.scores.fooled is not None
    if not victim.scores.fooled.any():
        return []
    place = int(victim.scores.fooled.int().argmax())
    changed = triggered.samples.subset([place])
    said = [replace(changed, labels=_said(told, model, changed)) for model in (victim.made.model, purified.model)]
    clean = test.subset([_attacked(victim)[place]])
    captions = (title(clean, 0), f"under attack: {title(said[0], 0)}", f"purified: {title(said[1], 0)}")
    shown = (clean, *said)
    if clean.label_kind == "boxes":
        shown = tuple(replace(each, inputs=drawings.outlined(each.inputs[0], each.labels[0])[None]) for each in shown)
    return [(caption, each.inputs[0]) for caption, each in zip(captions, shown, strict=True)]


def _exchanges(victim: _Victim, last: _Attempt, *, most: int) -> "list[Exchange]":
    """What both networks answer to the first clean sentences and to the first by which one of them is fooled."""
    from detrojan.report.inputs import exchanges

    before, after, triggered = victim.scores, last.scores, victim.triggered
    found = []
    if before.said is not None and after.said is not None:
        found += exchanges(victim.test, before.said, after.said, most=most)
    if before.misled is not None and after.misled is not None:
        assert before.fooled is not None
        assert after.fooled is not None
        fooled = (before.fooled, after.fooled)
        found += exchanges(triggered.samples, before.misled, after.misled, most=most, fooled=fooled)
    return found


def _attacked(victim: _Victim) -> "list[int]":
    """The places in the test set of the samples that were triggered."""
    from detrojan.backdoor import attacked

    assert victim.made.backdoor is not None
    return attacked(victim.test, victim.made.backdoor).tolist()


def _said(told: Story, model: "nn.Module", samples: "Samples") -> "Tensor":
    """The labels (N,), tags (N, K) or boxes (N, M, 5) that a network gives."""
    import torch

    from detrojan.tasks import TASKS

    task = TASKS.build(told.task)
    with torch.no_grad():
        read = task.read(lambda network, inputs: network(inputs), model.eval(), told.prepared()(samples.inputs))
        labels: Tensor = task.predict(read)
    return labels


def _figures(scores: "Scores") -> tuple[str, ...]:
    return tuple("-" if found is None else percent(found.value) for found in (scores.acc, scores.asr, scores.ra))


def _write(
    files: dict[str, Path], told: Story, victim: _Victim, attempts: list[_Attempt], seed: int, *, force: bool
) -> None:
    from detrojan.report.page import Run, write
    from detrojan.weight_files import sha256_of

    last = attempts[-1]
    files["report.html"].parent.mkdir(exist_ok=True)
    victim.made.save(files["victim.safetensors"], force=force)
    purified = last.result.save(files["purified.safetensors"], force=force)
    write(
        last.result,
        files["report.html"],
        force=force,
        title=f"Detrojan demo: {told.title}",
        before=victim.scores,
        after=last.scores,
        triggered_examples=victim.triggered.samples.inputs if victim.test.label_kind != "boxes" else None,
        answered=_answered(told, victim, last.result) if victim.test.label_kind == "boxes" else None,
        exchanges=_exchanges(victim, last, most=4) if victim.test.sentences else (),
        hashes={"input": sha256_of(files["victim.safetensors"]), "output": purified},
        command=f"detrojan demo --task {told.task} --seed {seed}",
        rows=[
            Run.of(told.portion(each.per_class), each.result, before=victim.scores, after=each.scores)
            for each in attempts
        ],
    )


def _answered(told: Story, victim: _Victim, purified: "Result") -> "dict[str, Samples]":
    """The first test images as they are, and what both networks find in them under the trigger, by heading."""
    first = list(range(min(6, len(victim.triggered.samples))))
    changed = victim.triggered.samples.subset(first)
    clean = victim.test.subset([_attacked(victim)[place] for place in first])
    return {
        "Test images with their true boxes": clean,
        "With the trigger: what the victim finds": replace(changed, labels=_said(told, victim.made.model, changed)),
        "With the trigger: what the purified network finds": replace(
            changed, labels=_said(told, purified.model, changed)
        ),
    }


def _next(screen: Screen, files: dict[str, Path], data: str) -> None:
    screen.say("")
    screen.facts(
        {
            "Report": files["report.html"],
            "Purified": files["purified.safetensors"],
            "Victim": files["victim.safetensors"],
            "Data": data,
        }
    )
    screen.say("\nYour own model:", style="bold")
    screen.say(
        "  detrojan purify suspect.pth --arch torchvision:resnet18 --clean folder/ --size 256 --preprocess imagenet "
        "-o clean.pth --report page.html"
    )


def _document(
    told: Story, victim: _Victim, attempts: list[_Attempt], files: dict[str, Path], seed: int
) -> dict[str, Any]:
    return {
        "verb": "demo",
        "task": told.task,
        "data": victim.test.name,
        "victim": scores_document(victim.scores),
        "purified": [
            {
                "clean_per_class": each.per_class,
                "method": each.result.method,
                "accepted": each.result.verdict.accepted,
                "seconds": each.result.cost.seconds,
                **scores_document(each.scores),
            }
            for each in attempts
        ],
        "files": files,
        "seed": seed,
        "exit_code": 0,
    }
