"""`detrojan train`: a backdoored network to test defenses on, with the record of how it was made.

After each epoch the training is kept in a hidden file beside the output, from which the same command goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen
from detrojan.cli.options import IMAGES, RUNNING, TRIGGER, Flag, Images, Network, Pool, Running, Trigger
from detrojan.cli.verbs.evaluate import estimates_of, scores_document, show
from detrojan.errors import BadArgument

if TYPE_CHECKING:
    from detrojan.progress import OnStep, Step
    from detrojan.recipe import Recipe


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The training recipe: SGD with Nesterov momentum under a one-cycle learning rate."""

    epochs: int = 16
    """Passes over the training set."""
    batch: int = 256
    """Images a step."""
    learning_rate: float = 0.2
    """The highest rate of the cycle."""
    weight_decay: float = 5e-4
    """Of all weights."""
    padding: int = 2
    """The reach of the random crop, in pixels."""
    no_flip: Flag = False
    """Do not mirror the images."""
    small: float = 0.0
    """The share of the epochs, from the first, that see images of three quarters of the side."""
    adam: Flag = False
    """AdamW in place of SGD, as networks of sentences want it; its rates are near 0.002."""


SCHEDULE = Schedule()
STAGE = "training"
"""What `detrojan.training.fit` calls the training of the victim itself."""


def run(
    *,
    network: Network,
    data: str,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    task: str | None = None,
    keep: int = 0,
    start: Path | None = None,
    trigger: Trigger = TRIGGER,
    poison_rate: float | None = None,
    pool: Pool = "auto",
    companions: float | None = None,
    schedule: Schedule = SCHEDULE,
    scale: Literal["small", "full"] | None = None,
    images: Images = IMAGES,
    force: Flag = False,
    running: Running = RUNNING,
    sharded: Flag = False,
) -> int:
    """Train a network on a poisoned training set, write its weights and a record, and score it on the test set.

    A training that was interrupted or killed goes on after its last whole epoch when the same command is given again.

    Args:
        data: Training images: a folder with one directory per class, a .npz or parquet file, or a data set's name.
        out: The weights file to write; the record goes beside it, under the same name with .json.
        task: What the network does: a name of `detrojan list tasks`; by default the one that fits the samples.
        keep: Keep so many samples from the victim, the first ones of each class: they are the defender's (`detrojan
            purify --first`).
        start: A weights file to start from, in place of fresh weights: fine-tuning on the poisoned set.
        poison_rate: The share of the pool that is poisoned; by default what the attack's paper has.
        pool: What is poisoned: samples whose label the attack changes, those of the target class (as clean-label
            attacks do), or any.
        companions: How many samples for each poisoned one are changed too but keep their label (cover, noise or cross
            samples); by default what the attack's paper has.
        scale: Train by the recipe of the benches in place of the options of the schedule but --no-flip: `small` for two
            CPU cores, `full` as in the literature; the width of a PreActResNet goes with it. What is no image, or has
            boxes, is shown whole in all epochs.
        force: Overwrite files that exist.
        network: See `Network`.
        trigger: See `Trigger`.
        schedule: See `Schedule`.
        images: See `Images`.
        running: See `Running`.
        sharded: Under torchrun: divide the network among the processes (FSDP2), where no device holds it whole.
    """
    screen = Screen(as_json=running.json)
    outputs.check(out, out.with_suffix(".json"), out.with_suffix(".trigger.safetensors"), force=force)
    outputs.check_suffix(out)
    from detrojan import architectures, parallel
    from detrojan.backdoor import trigger as stamp
    from detrojan.evaluation.protocol import evaluate
    from detrojan.scales import SCALES
    from detrojan.victim import train

    distributed = reading.together(sharded=sharded)
    backdoor = None if trigger.attack == "none" else reading.backdoor(trigger, None)
    if backdoor is None and trigger.attack != "none":
        raise BadArgument("--attack is missing; name one of `detrojan list attacks`, or none for a clean network")
    preprocessing = reading.preprocessing(images)
    seen = reading.without_first(reading.samples(data, images, split="train"), keep)
    test, kind = reading.samples(data, images, split="test"), reading.task(task, seen)
    state = out.with_name(f".{out.name}.state")
    recipe, settings = _recipe(schedule), architectures.parse_settings(network.arch_arg)
    if scale is not None:
        recipe = replace(SCALES[scale].recipe_for(seen), flip=not schedule.no_flip)
        if "preact_resnet" in network.arch:
            settings = {"width": SCALES[scale].width, **settings}
    with screen.progress() as on_step, _left(state, "the same command goes on after the last whole epoch"):
        victim = train(
            network.arch,
            seen,
            task=kind,
            attack=None if backdoor is None else backdoor.attack,
            poison_rate=poison_rate,
            target=trigger.target,
            mapping=trigger.mapping,
            sources=trigger.sources,
            pool=pool,
            companions=companions,
            preprocessing=preprocessing,
            recipe=recipe,
            device=running.device,
            precision=running.precision,
            distributed=distributed,
            seed=running.seed,
            on_step=_Teller(screen, on_step, recipe.epochs),
            state=state,
            start=start,
            **settings,
        )
    if not parallel.leads():
        return 0
    with outputs.uninterrupted():
        record = victim.save(out, force=force)
        state.unlink(missing_ok=True)
    screen.say(f"Wrote {out} and {record}")
    with screen.progress() as on_step, _left(out, f"{out} is written, but not scored"):
        scores = evaluate(
            victim.model,
            test,
            None if victim.backdoor is None else stamp(test, victim.backdoor),
            task=kind,
            preprocessing=preprocessing,
            device=running.device,
            precision=running.precision,
            on_step=on_step,
        )
    show(screen, f"The victim on {test.name}, %", estimates_of(scores), signature=scores.signature)
    screen.finish(
        {
            "verb": "train",
            "weights": out,
            "record": record,
            "test": test.name,
            **scores_document(scores),
            "execution": victim.record["execution"],
            "seed": running.seed,
            "exit_code": 0,
        }
    )
    return 0


@dataclass(slots=True)
class _Teller:
    """Passes progress on, and says so where a training begins with another than its first step."""

    screen: Screen
    on_step: "OnStep"
    epochs: int
    began: bool = False

    def __call__(self, step: "Step") -> None:
        if step.stage == STAGE and not self.began:
            self.began = True
            if done := (step.index - 1) * self.epochs // step.total:
                self.screen.note(f"Going on after epoch {done} of {self.epochs}.")
        self.on_step(step)


@contextmanager
def _left(kept: Path, sentence: str) -> Iterator[None]:
    """After a Ctrl-C, say what has been kept."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if kept.exists():
            raise KeyboardInterrupt(f"Interrupted; {sentence}.") from interrupt
        raise


def _recipe(schedule: Schedule) -> "Recipe":
    from detrojan.recipe import Recipe

    settings = asdict(schedule)
    return Recipe(flip=not settings.pop("no_flip"), **settings)
