"""The published choice of a threshold, made by looking at the attack: what it would have given, and never a default.

Papers prune at the threshold whose attack success on the test set is lowest. No defense can do so; this room, which no
defense can reach, computes it to show what the honest rule costs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from detrojan.backdoor import Backdoor, trigger
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.evaluation.protocol import evaluate
from detrojan.intervals import Estimate
from detrojan.pruning import THRESHOLDS, cut
from detrojan.randomness import Seeds

SAMPLED = 1000
"""Test images on which thresholds are compared; the chosen one is scored on all."""
TOLERANCE = 0.1
"""The share of the victim's accuracy that may be lost, as in BackdoorBench."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """What a look at the attack would have chosen, and the figures that it would have got."""

    threshold: float
    oracle_acc: Estimate
    oracle_asr: Estimate


def best_threshold(
    victim: nn.Module,
    masks: Mapping[str, Tensor],
    test: Samples,
    backdoor: Backdoor,
    *,
    preprocessing: Preprocessing,
    device: str = "auto",
    seed: int = 0,
) -> Oracle:
    """Cut the victim at every threshold and take the lowest ASR among those that keep nine tenths of the accuracy.

    Args:
        victim: the network before the defense; it stays as it is.
        masks: the factors of the norms' weights that the defense tuned, by name.
        test: test images.
        backdoor: the trigger, with the target.
        preprocessing: what stands between the images and the network.
        device: `auto`, `cpu`, `cuda`, ...
        seed: draws the test images on which thresholds are compared.
    """
    generator = Seeds(seed=seed).generator("test images of the oracle")
    few = test.subset(torch.randperm(len(test), generator=generator)[:SAMPLED])
    shown = trigger(few, backdoor)
    score = partial(evaluate, preprocessing=preprocessing, device=device)
    before = score(victim, few).acc.value
    found: list[tuple[float, float]] = []
    for threshold in THRESHOLDS:
        scores = score(cut(victim, masks, threshold, "norm"), few, shown)
        assert scores.asr is not None
        if scores.acc.value >= (1 - TOLERANCE) * before:
            found.append((scores.asr.value, threshold))
    threshold = min(found, default=(0.0, -1.0))[1]  # -1 cuts nothing
    chosen = score(cut(victim, masks, threshold, "norm"), test, trigger(test, backdoor))
    assert chosen.asr is not None
    return Oracle(threshold=threshold, oracle_acc=chosen.acc, oracle_asr=chosen.asr)
