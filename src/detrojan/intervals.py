"""95 % intervals of how right answers are on average, and of paired differences, by scipy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share in [0, 1] (or a difference of shares in [-1, 1]) with its 95 % interval, from `count` samples."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def average(outcomes: NDArray[np.floating]) -> Estimate:
    """How right answers are on average, of outcomes (N,) in [0, 1]: a proportion, where each is 0 or 1."""
    if _binary(outcomes):
        return proportion(int(outcomes.sum()), len(outcomes))
    return _bootstrapped(outcomes)


def average_loss(before: NDArray[np.floating], after: NDArray[np.floating]) -> Estimate:
    """What was lost on average on the same samples, of outcomes (N,) in [0, 1]."""
    if _binary(before) and _binary(after):
        lost, gained = int((before > after).sum()), int((before < after).sum())
        return paired_loss(lost, gained, len(before))
    return _bootstrapped(before - after)


def proportion(successes: int, count: int) -> Estimate:
    """A share with Wilson's score interval; of no samples at all nothing is known: [0, 1]."""
    if count == 0:
        return Estimate(value=float("nan"), low=0.0, high=1.0, count=0)
    interval = binomtest(successes, count).proportion_ci(LEVEL, method="wilson")
    return Estimate(value=successes / count, low=float(interval.low), high=float(interval.high), count=count)


def paired_loss(lost: int, gained: int, count: int) -> Estimate:
    """The share lost net of the share gained, on the same samples.

    The interval joins Clopper-Pearson intervals of the two shares at 97.5 % each (Bonferroni), so it errs on the wide
    side and does not shrink to a point where nothing changed.
    """
    if count == 0:
        return Estimate(value=float("nan"), low=-1.0, high=1.0, count=0)
    level = 1 - (1 - LEVEL) / 2
    down = binomtest(lost, count).proportion_ci(level, method="exact")
    up = binomtest(gained, count).proportion_ci(level, method="exact")
    return Estimate(
        value=(lost - gained) / count, low=float(down.low - up.high), high=float(down.high - up.low), count=count
    )


def _binary(outcomes: NDArray[np.floating]) -> bool:
    return bool(np.isin(outcomes, (0, 1)).all())


def _bootstrapped(values: NDArray[np.floating]) -> Estimate:
    """The mean with its percentile bootstrap interval, of a fixed seed."""
    value, spread = float(values.mean()), float(values.std())
    low, high = value, value
    if spread > 0:
        rng = np.random.default_rng(0)
        found = bootstrap(
            (values,),
            np.mean,
            n_resamples=2000,
            batch=50,
            confidence_level=LEVEL,
            method="percentile",
            rng=rng,
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    return Estimate(value=value, low=low, high=high, count=len(values))
