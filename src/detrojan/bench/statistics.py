"""What many rows say together: means with intervals, and which differences are more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, false_discovery_control, wilcoxon

from detrojan.intervals import LEVEL, Estimate

RESAMPLES = 2000


def mean_of(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> Estimate:
    """The mean of the figures of single seeds or victims, with a percentile bootstrap interval over them.

    The interval of few seeds is too narrow, since their spread is all that it knows; the mean of one has no interval
    (`low` and `high` are NaN). Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), by scipy.
    """
    data = np.asarray(values, dtype=float)
    if len(data) == 0:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)
    low, high = _interval(data, seed) if len(data) > 1 else (float("nan"), float("nan"))
    return Estimate(value=float(data.mean()), low=low, high=high, count=len(data))


def mean_over_victims(groups: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """The mean over victims of their means over seeds; the bootstrap draws victims, and seeds within each.

    Source: the hierarchical bootstrap, e.g. Saravanan et al. (2020).
    """
    filled = [np.asarray(group, dtype=float) for group in groups if len(group)]
    if not filled:
        return mean_of([])
    value = float(np.mean([group.mean() for group in filled]))
    if len(filled) == 1:
        return mean_of(filled[0], seed=seed)
    generator, most = np.random.default_rng(seed), max(len(group) for group in filled)
    padded = np.stack([np.pad(group, (0, most - len(group))) for group in filled])
    chosen = generator.integers(len(filled), size=(RESAMPLES, len(filled)))
    sizes = np.asarray([len(group) for group in filled])[chosen][..., None]
    values = padded[chosen[..., None], (generator.random((*chosen.shape, most)) * sizes).astype(int)]
    counted = np.arange(most) < sizes  # a victim of fewer seeds than others has fewer draws
    drawn = ((values * counted).sum(-1) / sizes[..., 0]).mean(1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), count=sum(len(group) for group in filled))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How one method differs from another on the same victims: the mean difference, and the chance of it by chance.

    `p` is of the two-sided Wilcoxon signed-rank test over victims, each with the mean of its seeds; `q` the same after
    control of the false discovery rate among the methods compared (Benjamini and Hochberg); NaN with fewer than two
    victims.
    """

    name: str
    difference: Estimate
    p: float
    q: float


Figures = Mapping[str, Mapping[str, float]]
"""Of a method: by victim, and by the key of each of its seeds."""


def against(base: Figures, others: Mapping[str, Figures], *, seed: int = 0) -> list[Difference]:
    """Compare methods with a base, pair by pair; what only one of the two has is left out.

    Seeds of one victim are no independent trials: the interval is that of `mean_over_victims`, the test one over
    victims.

    Args:
        base: the figures of the base.
        others: those of each other method, by its name.
        seed: of the bootstrap.
    """
    found = []
    for name, figures in others.items():
        pairs = ({k: (s[k], base[v][k]) for k in s.keys() & base[v].keys()} for v, s in figures.items() if v in base)
        groups = [[a - b for _, (a, b) in sorted(seeds.items())] for seeds in pairs if seeds]
        means = [float(np.mean(group)) for group in groups]
        found.append((name, mean_over_victims(groups, seed=seed), _wilcoxon(means)))
    tested = [p for _, _, p in found if not np.isnan(p)]
    adjusted = iter(false_discovery_control(tested) if tested else [])
    return [
        Difference(name=name, difference=estimate, p=p, q=p if np.isnan(p) else float(next(adjusted)))
        for name, estimate, p in found
    ]


def _interval(data: NDArray[np.float64], seed: int) -> tuple[float, float]:
    if np.ptp(data) == 0:
        return float(data[0]), float(data[0])
    options = {"n_resamples": RESAMPLES, "confidence_level": LEVEL, "method": "percentile"}
    drawn = bootstrap((data,), np.mean, rng=np.random.default_rng(seed), **options)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _wilcoxon(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return float("nan")
    return 1.0 if not any(differences) else float(wilcoxon(differences).pvalue)
