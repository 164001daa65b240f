"""`detrojan demo`: the whole story in a minute, on the handwritten digits that come with scikit-learn."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from detrojan.cli import outputs
from detrojan.cli.console import Screen, percent
from detrojan.cli.options import Flag
from detrojan.cli.verbs.evaluate import scores_document

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detrojan.data.samples import Samples
    from detrojan.evaluation.protocol import Scores
    from detrojan.poisoning import Backdoor, Triggered
    from detrojan.purification import Result
    from detrojan.training import OnStep, Step
    from detrojan.victim import Victim

METHOD = "nft"
SETTINGS = {"tune": "weights", "weight_learning_rate": 0.05, "steps": 150}
"""NFT's loss on all the weights, the best of nine candidates on victims of other seeds (`benchmarks/demo.py`): on a
network this small, masks leave most of the backdoor."""
PER_CLASS = (1, 10, 50)
SIZE = 16
"""The side of the images in pixels, twice that of the stored digits, so that a patch is sharper than any stroke."""
SHADES = " ░▒▓█"
LEGEND = """\
ACC: clean digits read right.  ASR: digits with the trigger read as the attacker wants.
RA: digits with the trigger read right all the same.  Clean samples are per class; the victim never saw them.
A weak verdict had no samples to hold back: it was made on those that were tuned on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One purification and how it scores."""

    per_class: int
    result: "Result"
    scores: "Scores"


def run(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("detrojan-demo"),
    seed: int = 0,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Make a backdoored network and purify it with 1, 10 and 50 clean samples a class, in a minute.

    Args:
        out: The folder for the report page and the models.
        seed: The same seed gives the same result on one machine.
        force: Overwrite what an earlier demo left there.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    files = {name: out / name for name in ("victim.safetensors", "victim.json", "purified.safetensors", "report.html")}
    if out.is_dir():
        outputs.check(*files.values(), force=force)
    else:
        outputs.check(out, force=force)
    from detrojan.evaluation.protocol import evaluate
    from detrojan.poisoning import trigger

    screen.say("A backdoored reader of handwritten digits: a white patch in the corner turns every digit into a 0.\n")
    clean, seen, test = _digits(seed)
    with screen.progress() as on_step:
        backdoor = _backdoor()
        victim = _victim(seen, backdoor, seed, on_step)
        triggered = trigger(test, backdoor)
        before = evaluate(victim.model, test, triggered)
        attempts = [_attempt(victim, clean, test, triggered, per_class, seed, on_step) for per_class in PER_CLASS]
    _tell(screen, victim, before, attempts, test, triggered)
    with outputs.uninterrupted():
        _write(files, victim, before, attempts, triggered, seed, force=force)
    _next(screen, files)
    screen.finish(_document(before, attempts, files, seed))
    return 0


def _digits(seed: int) -> "tuple[Samples, Samples, Samples]":
    """The defender's clean samples, what the victim sees, and the test set; no two of them overlap."""
    from detrojan.data.load import load
    from detrojan.data.samples import sample

    every, test = load("digits", size=SIZE), load("digits", split="test", size=SIZE)
    clean, taken = sample(every, per_class=max(PER_CLASS), seed=seed)
    kept = set(taken.tolist())
    return clean, every.subset([index for index in range(len(every)) if index not in kept]), test


def _backdoor() -> "Backdoor":
    from detrojan.attacks.badnets import BadNets
    from detrojan.poisoning import Backdoor

    return Backdoor(attack=BadNets(size=6), target=0)


def _victim(seen: "Samples", backdoor: "Backdoor", seed: int, on_step: "OnStep") -> "Victim":
    from detrojan.training import Recipe
    from detrojan.victim import train

    recipe = Recipe(epochs=20, batch=64, learning_rate=0.1, padding=1, flip=False)
    return train(
        "detrojan:small_cnn",
        seen,
        attack=backdoor.attack,
        poison_rate=0.1,
        target=backdoor.target,
        recipe=recipe,
        seed=seed,
        on_step=lambda step: on_step(replace(step, stage="training the victim")),
    )


def _attempt(
    victim: "Victim",
    clean: "Samples",
    test: "Samples",
    triggered: "Triggered",
    per_class: int,
    seed: int,
    on_step: "OnStep",
) -> _Attempt:
    from detrojan.data.samples import sample
    from detrojan.defenses import DEFENSES
    from detrojan.evaluation.protocol import evaluate
    from detrojan.purification import purify
    from detrojan.tasks.image import Image

    def named(step: "Step") -> None:
        on_step(replace(step, stage=f"purifying, {per_class} a class"))

    few = sample(clean, per_class=per_class, seed=seed)[0]
    task = Image(flip=False, padding=1 / SIZE)
    method = DEFENSES.build(METHOD, **SETTINGS)
    result = purify(victim.model, few, task=task, method=method, seed=seed, on_step=named)
    return _Attempt(per_class=per_class, result=result, scores=evaluate(result.model, test, triggered))


def _tell(
    screen: Screen,
    victim: "Victim",
    before: "Scores",
    attempts: list[_Attempt],
    test: "Samples",
    triggered: "Triggered",
) -> None:
    screen.say(_pictures(_panels(victim, attempts[-1].result, test, triggered)))
    rows = [("victim", *_figures(before), "", "")]
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
    screen.table(f"{len(test)} test digits, %", ("", "ACC", "ASR", "RA", "seconds", "verdict"), rows)
    screen.say(LEGEND, style="dim")


def _panels(
    victim: "Victim", purified: "Result", test: "Samples", triggered: "Triggered"
) -> "list[tuple[str, Tensor]]":
    """The first triggered test digit that fools the victim: clean, and as both networks read it with the trigger."""
    before, after = (_read(model, triggered.samples.inputs) for model in (victim.model, purified.model))
    shown = int((before == triggered.wanted).nonzero()[0])
    original = int((test.labels != triggered.wanted[0]).nonzero()[shown])
    image = triggered.samples.inputs[shown]
    return [
        (f"a {int(triggered.samples.labels[shown])}", test.inputs[original]),
        (f"with the trigger, read as {int(before[shown])}", image),
        (f"purified: read as {int(after[shown])}", image),
    ]


def _read(model: "nn.Module", images: "Tensor") -> "Tensor":
    import torch

    with torch.no_grad():
        labels: Tensor = model.eval()(images.float() / 255).argmax(1)
    return labels


def _pictures(panels: "list[tuple[str, Tensor]]") -> str:
    """Small pictures beside each other, one character for two pixels above one another, captions below."""
    width = max(len(caption) for caption, _ in panels) + 4
    lines = [""] * (SIZE // 2)
    for _, image in panels:
        rows = image[0].float().reshape(SIZE // 2, 2, SIZE).mean(1) / 255
        for index, row in enumerate(rows.tolist()):
            drawn = "".join(SHADES[round(value * (len(SHADES) - 1))] for value in row)
            lines[index] += f"  {drawn}".ljust(width)
    captions = "".join(f"  {caption}".ljust(width) for caption, _ in panels)
    return "\n".join([*lines, captions]) + "\n"


def _figures(scores: "Scores") -> tuple[str, ...]:
    return tuple("-" if found is None else percent(found.value) for found in (scores.acc, scores.asr, scores.ra))


def _write(
    files: dict[str, Path],
    victim: "Victim",
    before: "Scores",
    attempts: list[_Attempt],
    triggered: "Triggered",
    seed: int,
    *,
    force: bool,
) -> None:
    from detrojan.report.page import Run, write
    from detrojan.weight_files import sha256_of

    last = attempts[-1]
    files["report.html"].parent.mkdir(exist_ok=True)
    victim.save(files["victim.safetensors"], force=force)
    purified = last.result.save(files["purified.safetensors"], force=force)
    write(
        last.result,
        files["report.html"],
        force=force,
        title="Detrojan demo: handwritten digits",
        before=before,
        after=last.scores,
        triggered_examples=triggered.samples.inputs,
        hashes={"input": sha256_of(files["victim.safetensors"]), "output": purified},
        command=f"detrojan demo --seed {seed}",
        rows=[Run.of(f"{each.per_class} a class", each.result, before=before, after=each.scores) for each in attempts],
    )


def _next(screen: Screen, files: dict[str, Path]) -> None:
    screen.say("")
    screen.facts(
        {
            "Report": files["report.html"],
            "Purified": files["purified.safetensors"],
            "Victim": files["victim.safetensors"],
        }
    )
    screen.say("\nYour own model:", style="bold")
    screen.say(
        "  detrojan purify suspect.pth --arch torchvision:resnet18 --clean folder/ -o clean.pth --report page.html"
    )


def _document(before: "Scores", attempts: list[_Attempt], files: dict[str, Path], seed: int) -> dict[str, Any]:
    return {
        "verb": "demo",
        "victim": scores_document(before),
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
