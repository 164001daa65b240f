"""The public call: hold back some clean samples, run a defense on the others, judge the result, roll back a failure.

Nothing here sees a trigger, an attack success rate or a test set.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detrojan import checkpoint, parallel
from detrojan.data.gather import gather
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples, held_back
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, BadWeights, DetrojanError, Unsupported, out_of_memory
from detrojan.execution import Distributed, Execution, Precision
from detrojan.progress import OnStep
from detrojan.randomness import Seeds
from detrojan.tasks import TASKS, Task, task_for
from detrojan.tuning import Context, Cost, Diverged, Meter, Tuned
from detrojan.verdict import FEWEST_HELD_OUT, Verdict, doubt_of, failed, judge
from detrojan.wrappers import unwrap

HELD_OUT = 0.2
BEST: Mapping[str, str] = dict.fromkeys(
    ("image", "pointcloud", "text", "translation", "dialogue"), "consistency_distil"
) | {"detection": "awm"}
"""What has been measured to hold best on a task; of all others it is `ft_sam`."""
FEWEST_SENTENCES = 10
"""Fewer samples tell as much where each is right or wrong many times, word by word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `purify` returns.

    `model` is a plain module: the purified network, or a copy of the victim where the verdict is a rejection. `masks`
    are the tuned factors by module name, `losses` the loss of each step, `tuned` and `judged` the positions of the
    clean samples that went into tuning and into the verdict. `notes` are the method's own findings. `guarded` says that
    the model carries hooks, without which its weights are the victim's.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    losses: tuple[float, ...]
    cost: Cost
    verdict: Verdict
    method: str
    settings: Mapping[str, Any]
    task: str
    seed: int
    execution: str
    tuned: tuple[int, ...]
    judged: tuple[int, ...]
    clean: Samples
    notes: Mapping[str, float | int | str]
    guarded: bool = False

    def save(self, path: Path | str, *, force: bool = False) -> str:
        """Write the model's weights (`.safetensors`, `.pt`, `.pth`); returns the file's SHA-256.

        Raises:
            Unsupported: the weights alone are not the purified network.
        """
        if self.guarded:
            raise Unsupported(
                f"what {self.method} found is hooks on the model, and no file of weights can hold them; use the model "
                "that is in memory, or another method"
            )
        return checkpoint.save(path, self.model, force=force)

    def report(self, path: Path | str, *, force: bool = False, **extras: Any) -> Path:
        """Write the self-contained HTML page; `extras` as in `detrojan.report.page.write`."""
        from detrojan.report.page import write  # the page is a room below: it reads results, results do not need it

        return write(self, Path(path), force=force, **extras)


def default_method(task: Any) -> str:
    """What a task's networks are purified with where no method is named.

    What has been measured to hold best: of images, point clouds and sentences `consistency_distil`, of boxes `awm`, of
    tags, clips and all else `ft_sam`.
    """
    return BEST.get(TASKS.name_of(TASKS.build(task)), "ft_sam")


def purify(
    model: nn.Module,
    clean: Any,
    *,
    task: Any = "image",
    method: Any = None,
    preprocessing: Preprocessing | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    distributed: Distributed = False,
    activation_checkpointing: bool = False,
    seed: int = 0,
    held_out: float = HELD_OUT,
    tolerance: float = 0.1,
    training: Any = None,
    on_step: OnStep | None = None,
) -> Result:
    """Remove a backdoor from a network with a few clean samples.

    Args:
        model: any module whose output holds class scores; never changed.
        clean: a `Samples`, a pair of tensors, a dataset, a loader or a folder of class-named folders.
        task: a name of `detrojan list tasks`, or a configured task.
        method: a name of `detrojan list defenses`, or a configured defense; None takes that of `default_method`.
        preprocessing: what stands between the samples and the model; None passes floats on as they are and scales
            bytes to [0, 1].
        device: `auto`, `cpu`, `cuda`, ...
        precision: `auto` runs in bfloat16 where the processor has instructions for it.
        distributed: all processes that `torchrun` started purify this one network, each with its share
            of every batch; each of them returns the result. With `"shards"` each holds only its share of the parameters
            on its device while it works (FSDP2), for networks that fit none.
        activation_checkpointing: the blocks of the network (members of an `nn.Sequential` or `nn.ModuleList`)
            compute their activations again for the gradient, for networks that do not fit; the result is the same. What
            runs with other tensors in place of the weights (SAM's steps, masks on single weights, the search for
            patches) keeps them.
        seed: the same seed gives the same result, bit by bit, on one machine.
        held_out: the share of the clean samples that is kept aside to judge, by class, each of which keeps one to tune
            on. Where this would be fewer than 20 samples (10 of sentences), nothing is held back and the verdict says
            it is weak.
        tolerance: the largest loss of clean accuracy, as a share, that is accepted; beyond it the victim is returned.
        training: what the model learned from, suspect or not, in the same forms as `clean`; for methods that need it.
        on_step: called after every step, with its number, the total and the loss.

    Raises:
        BadArgument, BadData, BadWeights, Unsupported, UnknownName: each with one sentence that says what to do.
    """
    if not 0 <= held_out < 1 or not 0 <= tolerance <= 1:
        raise BadArgument(f"held_out must lie in [0, 1) and tolerance in [0, 1], got {held_out} and {tolerance}")
    doing = TASKS.build(task)
    defense = DEFENSES.build(default_method(doing) if method is None else method)
    _check_augmentation(defense, doing)
    samples = _taught(doing, gather(clean, labels=doing.labels))
    doing = task_for(task, samples)
    execution = Execution.choose(
        model, device, precision, distributed=distributed, checkpointing=activation_checkpointing
    )
    context = Context(
        task=doing,
        preprocessing=preprocessing or Preprocessing(),
        execution=execution,
        seeds=Seeds(seed=seed),
        meter=Meter(device=execution.device),
        on_step=on_step,
        training=None if training is None else _taught(doing, gather(training, labels=doing.labels)),
    )
    fewest = FEWEST_SENTENCES if samples.label_kind == "sentences" else FEWEST_HELD_OUT
    tuned, judged = held_back(samples, fraction=held_out, fewest=fewest, seed=seed)
    victim = copy.deepcopy(unwrap(model)[0])
    if not context.execution.sharded:  # shards cannot be copied, as methods do
        context.execution.place(victim)
    scores_before = _first_look(context.execution.placed(victim), samples, context)
    weak, doubt = tuned is judged, doubt_of(doing, scores_before, samples)
    meter = context.meter.start()
    try:
        outcome = defense(victim, samples.subset(tuned), context)
        cost = meter.cost()
        purified = _like(model, outcome)
        scores_after = context.predict(context.execution.placed(outcome.model), samples.subset(judged))
        verdict = judge(
            doing, scores_before[judged], scores_after, samples.subset(judged), tolerance, weak=weak, doubt=doubt
        )
    except Diverged as failure:
        outcome, cost, purified = Tuned(model=victim, masks={}, losses=()), meter.cost(), None
        verdict = failed(doing, scores_before[judged], samples.subset(judged), str(failure), weak=weak, doubt=doubt)
    except ValueError as error:  # how torch's optimisers refuse their settings
        if isinstance(error, DetrojanError) or not str(error).startswith("Invalid "):
            raise
        raise BadArgument(
            f"{DEFENSES.name_of(defense)} cannot work with one of its settings ({error}); choose another value (--set)"
        ) from error
    return Result(
        model=purified if verdict.accepted and purified is not None else copy.deepcopy(model),
        masks=outcome.masks,
        losses=outcome.losses,
        cost=cost,
        verdict=verdict,
        method=DEFENSES.name_of(defense),
        settings=asdict(defense) if is_dataclass(defense) and not isinstance(defense, type) else {},
        task=TASKS.name_of(context.task),
        seed=seed,
        execution=str(context.execution),
        tuned=tuple(tuned.tolist()),
        judged=tuple(judged.tolist()),
        clean=samples,
        notes=outcome.notes,
        guarded=outcome.guard is not None and verdict.accepted,
    )


def _check_augmentation(defense: Any, task: Task) -> None:
    """Refuse an augmentation of a method's own that turns and shears images, where their labels are boxes."""
    kind = getattr(defense, "augmentation", None)
    if task.labels == "boxes" and kind in ("randaugment", "augmix"):
        raise Unsupported(
            f"augmentation={kind} would move what is in an image and leave the boxes around it where they are; use "
            "mixup, cutout or none"
        )


def _taught(task: Task, samples: Samples) -> Samples:
    """The samples as a network is shown them when it learns."""
    return replace(samples, inputs=task.teach(samples.inputs, samples.labels))


def _first_look(victim: nn.Module, samples: Samples, context: Context) -> Tensor:
    """The victim's scores (N, K), once they are known to fit the samples."""
    try:
        scores = context.predict(victim, samples)
    except (RuntimeError, IndexError) as error:  # torch's own words for shapes, and tokens, that do not fit
        if isinstance(error, DetrojanError) or out_of_memory(error):
            raise
        shape = tuple(samples.inputs.shape[1:])
        words = samples.label_kind == "sentences" or samples.kind == "tokens"
        check = (
            "their words: `tokenizer` or `learned` of the data set names what the model learned with"
            if words
            else "their size, their channels and the preprocessing"
        )
        raise BadData(f"the model fails on clean samples of shape {shape} ({error}); check {check}") from error
    if not torch.isfinite(scores).all():
        raise BadWeights("the model's scores on the clean samples are NaN or infinite; check weights and preprocessing")
    if samples.label_kind == "tags" and samples.labels.shape[1] != scores.shape[1]:
        raise BadData(
            f"the clean samples have {samples.labels.shape[1]} tags each, but the model has {scores.shape[1]} scores; "
            "check the order of the tags and the architecture's num_classes"
        )
    if samples.labels.ndim == 1 and int(samples.labels.max()) >= scores.shape[1]:
        raise BadData(
            f"the clean samples have label {int(samples.labels.max())}, but the model has {scores.shape[1]} classes; "
            "check the label order and the architecture's num_classes"
        )
    return scores


def _like(model: nn.Module, outcome: Tuned) -> nn.Module:
    """The purified weights in a copy of the victim, so that class, device, dtypes, layout and modes are its own."""
    twin, purified = copy.deepcopy(model), outcome.model
    network, _ = unwrap(twin)
    network.load_state_dict(parallel.gathered(purified) if parallel.sharded(purified) else purified.state_dict())
    if outcome.guard is not None:
        outcome.guard(network)
    return twin
