"""ACC (or mAP), ASR, RA and DER, each with a 95 % interval.

ASR leaves out the samples whose true label is the one that the attacker wants; RA is scored on the same samples.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import Tensor, nn

from detrojan.backdoor import Triggered
from detrojan.data.gather import gather
from detrojan.data.preprocessing import Preprocessing
from detrojan.errors import BadData
from detrojan.execution import Execution, Precision
from detrojan.intervals import LEVEL, Estimate, average
from detrojan.progress import OnStep, Step
from detrojan.randomness import Seeds
from detrojan.tasks import TASKS, task_for
from detrojan.tuning import Context, Meter
from detrojan.verdict import by_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Clean accuracy, attack success rate and robust accuracy, the last two None without a trigger.

    `acc` is what the task's `metric` says, such as the mean average precision of tags, and `signature` how it was
    computed, where a library has a word for it (sacrebleu). `right` (in [0, 1]) and `fooled`
    are the outcomes by sample, from which paired comparisons are made. `said` and `misled` are the sentences (N, T)
    that it made of clean and of triggered samples, None of networks that make none.
    """

    acc: Estimate
    asr: Estimate | None
    ra: Estimate | None
    per_class: Mapping[int, Estimate]
    right: Tensor = field(repr=False)
    fooled: Tensor | None = field(repr=False)
    metric: str = "ACC"
    signature: str = ""
    said: Tensor | None = field(default=None, repr=False)
    misled: Tensor | None = field(default=None, repr=False)


def evaluate(
    model: nn.Module,
    clean_test: Any,
    triggered_test: Triggered | None = None,
    *,
    task: Any = "image",
    preprocessing: Preprocessing | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    on_step: OnStep | None = None,
) -> Scores:
    """Score a network; the model is not changed.

    Args:
        model: any module whose output holds class scores.
        clean_test: test samples, as `purify` takes its clean ones.
        triggered_test: the same test set under a known trigger, from `detrojan.backdoor.trigger`.
        task: a task's name, or a configured task.
        preprocessing: what stands between the samples and the model.
        device: `auto`, `cpu`, `cuda`, ...
        precision: as in `purify`.
        on_step: called after each of the two passes.

    Raises:
        BadData: no triggered sample is left once those of the wanted label are out.
    """
    samples = gather(clean_test, labels=TASKS.build(task).labels)
    doing = task_for(task, samples)
    execution = Execution.choose(model, device, precision)
    network = execution.place(copy.deepcopy(model)).eval()
    context = Context(
        task=doing,
        preprocessing=preprocessing or Preprocessing(),
        execution=execution,
        seeds=Seeds(),
        meter=Meter(),
    )
    answers = context.predict(network, samples)
    right = doing.outcomes(answers, samples.labels)
    if on_step is not None:
        on_step(Step(index=1, total=2 if triggered_test else 1, loss=float("nan"), stage="evaluating"))
    fooled, robust, misled = None, None, None
    if triggered_test is not None:
        if not len(triggered_test.samples):
            raise BadData("every triggered test sample already has the label that the attacker wants; ASR is undefined")
        misled = context.predict(network, triggered_test.samples)
        fooled = doing.fooled(misled, triggered_test.wanted)
        robust = doing.outcomes(misled, triggered_test.samples.labels)
        if on_step is not None:
            on_step(Step(index=2, total=2, loss=float("nan"), stage="evaluating"))
    return Scores(
        acc=doing.score(answers, samples.labels),
        asr=None if fooled is None else _share(fooled),
        ra=None if robust is None else _share(robust),
        per_class=by_class(right, samples),
        right=right,
        fooled=fooled,
        metric=doing.metric,
        signature=getattr(doing, "signature", ""),
        said=answers if samples.sentences else None,
        misled=misled if samples.sentences else None,
    )


def der(before: Scores, after: Scores, *, seed: int = 0) -> Estimate:
    """Defense effectiveness rating: (max(0, ASR drop) - max(0, ACC drop) + 1) / 2; 0.5 means nothing was gained.

    The interval is a percentile bootstrap over the test samples, clean and triggered apart, paired by sample. Where ACC
    is no mean over samples (mAP, BLEU), its drop has the spread of the outcomes by sample.

    Raises:
        BadData: the two scores are not of the same test samples, or were made without a trigger.
    """
    if before.fooled is None or after.fooled is None:
        raise BadData("DER needs scores that were made with a trigger")
    if len(before.right) != len(after.right) or len(before.fooled) != len(after.fooled):
        raise BadData("DER compares two networks on the same test samples; these scores are of different ones")
    fooled = before.fooled.double().numpy() - after.fooled.double().numpy()
    right = before.right.double().numpy() - after.right.double().numpy()
    if before.metric != "ACC":
        right += before.acc.value - after.acc.value - right.mean()
    value = float(_der(fooled, right))
    low, high = value, value
    if fooled.std() > 0 or right.std() > 0:
        drawn = bootstrap(
            (fooled, right),
            _der,
            n_resamples=1000,
            batch=50,
            vectorized=True,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(drawn.low), float(drawn.high)
    return Estimate(value=value, low=low, high=high, count=len(right))


def _der(fooled: NDArray[Any], right: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return (np.maximum(0, fooled.mean(axis)) - np.maximum(0, right.mean(axis)) + 1) / 2


def _share(outcomes: Tensor) -> Estimate:
    return average(outcomes.double().numpy())
