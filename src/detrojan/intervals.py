"""95 % intervals of proportions and of their paired differences, by scipy."""

from dataclasses import dataclass

from scipy.stats import binomtest

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
