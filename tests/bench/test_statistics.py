"""Means, intervals and comparisons, against cases whose answer is known."""

import math

import numpy as np
import pytest

from detrojan.bench.statistics import against, mean_of, mean_over_victims


def test_one_figure_has_no_interval_and_none_has_no_mean():
    assert mean_of([0.3]).value == 0.3
    assert math.isnan(mean_of([0.3]).low)
    assert math.isnan(mean_of([]).value)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        estimate = mean_of(generator.normal(1.0, 1.0, size=40), seed=seed)
        covered += estimate.low <= 1.0 <= estimate.high
    assert 50 <= covered <= 60


def test_equal_figures_have_an_interval_of_no_width():
    assert (mean_of([0.5, 0.5]).low, mean_of([0.5, 0.5]).high) == (0.5, 0.5)


def test_every_victim_counts_the_same_whatever_its_seeds():
    estimate = mean_over_victims([[0.0, 0.0, 0.0], [1.0]])
    assert estimate.value == 0.5
    assert (estimate.low, estimate.high, estimate.count) == (0.0, 1.0, 4)


def test_the_spread_between_victims_is_what_widens_the_interval():
    generator = np.random.default_rng(1)
    alike = [list(0.5 + 0.01 * generator.normal(size=3)) for _ in range(10)]
    apart = [list(center + 0.01 * generator.normal(size=3)) for center in np.linspace(0, 1, 10)]
    narrow, wide = mean_over_victims(alike), mean_over_victims(apart)
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)


def test_a_better_method_is_told_from_one_that_is_not():
    generator = np.random.default_rng(2)
    base = list(generator.uniform(0.4, 0.6, size=30))
    others = {
        "better": [value + 0.1 + 0.01 * generator.normal() for value in base],
        "same": [value + 0.05 * generator.normal() for value in base],
        "itself": list(base),
        "half": [value + 0.1 if i % 2 else None for i, value in enumerate(base)],
    }
    found = {difference.name: difference for difference in against(base, others)}
    assert found["better"].difference.value == pytest.approx(0.1, abs=0.01)
    assert found["better"].q < 0.001
    assert found["same"].q > 0.05
    assert (found["itself"].p, found["itself"].difference.value) == (1.0, 0.0)
    assert found["half"].difference.count == 15
    assert all(d.q >= d.p for d in found.values())


def test_too_few_pairs_are_no_test():
    (found,) = against([0.5, None], {"other": [0.6, 0.7]})
    assert math.isnan(found.p)
    assert math.isnan(found.q)
    assert found.difference.value == pytest.approx(0.1)
