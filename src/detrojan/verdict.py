"""What clean samples say of a purification: what was lost, and whether they themselves can be trusted.

Nothing here sees a trigger, an attack success rate or a test set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detrojan.data.samples import Samples
from detrojan.intervals import Estimate, average, average_loss
from detrojan.tasks import Task

FEWEST_HELD_OUT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement from clean samples alone: it speaks of what was lost, and cannot prove that no backdoor is left.

    `before` and `after` are the clean accuracies (or what else `measure` says) on the judged samples, `lost` the
    difference on the same samples, `agreement` the share of them on which both networks give the same label. `weak`
    says that no samples could be held back, so that the judgement was made on those that were tuned on. `doubt` says
    why labels or preprocessing seem not to be those of the victim's training; it ends the reason, and is empty where
    nothing speaks for it. Per-class accuracies are shares by label.
    """

    accepted: bool
    reason: str
    weak: bool
    before: Estimate
    after: Estimate
    lost: Estimate
    agreement: Estimate
    per_class_before: Mapping[int, Estimate]
    per_class_after: Mapping[int, Estimate]
    measure: str = "clean accuracy"
    doubt: str = ""


def doubt_of(task: Task, scores: Tensor, samples: Samples) -> str:
    """What speaks against the labels or the preprocessing: the victim's answers do not go with the clean samples.

    By chance as many answers are right as if they were dealt out to the samples anew. Many samples must clear that
    with their whole interval, few with their average.
    """
    if samples.label_kind != "class" or scores.ndim != 2:
        return ""
    labels, answered, count, known = samples.labels, scores.argmax(1), scores.shape[1], len(samples.class_names)
    found = _share(task.outcomes(scores, labels))
    chance = float(labels.bincount(minlength=count).double() @ answered.bincount(minlength=count).double())
    chance /= len(samples) ** 2
    blind = (found.low if found.count >= FEWEST_HELD_OUT else found.value) <= chance + 1e-9
    doubts = []
    if blind:
        doubts.append(
            f"the model was right on {found} of the clean samples before, where chance gives {100 * chance:.1f} %; "
            "check that labels are numbered and inputs preprocessed (--preprocess) as in its training"
        )
    usual = (int(answered[labels == label].mode().values) for label in labels.unique())
    if 0 < known < count and (blind or any(label >= known for label in usual)):
        doubts.append(
            f"the samples have {known} classes and the model {count} scores, and a folder that lacks a class numbers "
            "all behind it anew; give samples of every class"
        )
    return "; ".join(doubts)


def judge(
    task: Task, before: Tensor, after: Tensor, samples: Samples, tolerance: float, *, weak: bool, doubt: str
) -> Verdict:
    """Compare the answers of both networks to the judged samples; up to `tolerance`, a share, may be lost."""
    finite = bool(torch.isfinite(after).all())
    right_before, right_after = (task.outcomes(answers, samples.labels) for answers in (before, after))
    lost = average_loss(right_before.double().numpy(), right_after.double().numpy())
    accepted = finite and lost.value <= tolerance
    agree = average(task.same(before, after).double().numpy())
    return Verdict(
        accepted=accepted,
        reason=_sentence(task.judged, lost, tolerance, finite=finite, weak=weak)
        + _weakened(weak=weak and accepted, doubt=doubt),
        weak=weak,
        before=_share(right_before),
        after=_share(right_after),
        lost=lost,
        agreement=agree,
        per_class_before=by_class(right_before, samples),
        per_class_after=by_class(right_after, samples),
        measure=task.judged,
        doubt=doubt,
    )


def failed(task: Task, before: Tensor, samples: Samples, reason: str, *, weak: bool, doubt: str) -> Verdict:
    """The verdict on a method that came to nothing, for a stated reason."""
    same = judge(task, before, before, samples, 1.0, weak=weak, doubt=doubt)
    told = f"{reason}. The victim is returned unchanged.{_weakened(weak=False, doubt=doubt)}"
    return replace(same, accepted=False, reason=told)


def _sentence(measure: str, lost: Estimate, tolerance: float, *, finite: bool, weak: bool) -> str:
    if not finite:
        return "The purified model gives NaN or infinite scores; the victim is returned unchanged."
    judged = f"the {lost.count} samples that were tuned on, since too few were given to hold any back"
    change = f"lost {lost}" if lost.value >= 0 else f"gained {_negated(lost)}"
    figures = f"{measure} {change}, judged on {judged if weak else f'{lost.count} held-out samples'}"
    if lost.value > tolerance:
        return (
            f"Too much was lost: {figures}; {100 * tolerance:.0f} points are tolerated. "
            "The victim is returned unchanged. Give more clean samples or try another method."
        )
    return f"{figures[0].upper()}{figures[1:]}."


def _weakened(*, weak: bool, doubt: str) -> str:
    return f" This judgement is weak: {doubt}." if doubt else " This judgement is weak." if weak else ""


def _negated(lost: Estimate) -> Estimate:
    return Estimate(value=-lost.value, low=-lost.high, high=-lost.low, count=lost.count)


def _share(right: Tensor) -> Estimate:
    return average(right.double().numpy())


def by_class(right: Tensor, samples: Samples) -> dict[int, Estimate]:
    """How right the answers are on the samples of each class, tag or class of boxes that occurs."""
    if samples.label_kind == "sentences":
        return {}
    if samples.label_kind != "class":
        having = enumerate(samples.present.bool().unbind(1))
        return {label: _share(right[which]) for label, which in having if which.any()}
    return {int(label): _share(right[samples.labels == label]) for label in samples.labels.unique()}
