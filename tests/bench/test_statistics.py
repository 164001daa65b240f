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
    base = {str(i): {"0": value} for i, value in enumerate(generator.uniform(0.4, 0.6, size=30))}
    others = {
        "better": {v: {"0": seeds["0"] + 0.1 + 0.01 * generator.normal()} for v, seeds in base.items()},
        "same": {v: {"0": seeds["0"] + 0.05 * generator.normal()} for v, seeds in base.items()},
        "itself": base,
        "half": {v: {"0": seeds["0"] + 0.1} for v, seeds in base.items() if int(v) % 2},
    }
    found = {difference.name: difference for difference in against(base, others)}
    assert found["better"].difference.value == pytest.approx(0.1, abs=0.01)
    assert found["better"].q < 0.001
    assert found["same"].q > 0.05
    assert (found["itself"].p, found["itself"].difference.value) == (1.0, 0.0)
    assert found["half"].difference.count == 15
    assert all(d.q >= d.p for d in found.values())


def test_too_few_pairs_are_no_test():
    (found,) = against({"one": {"0": 0.5}}, {"other": {"one": {"0": 0.6, "1": 0.9}, "two": {"0": 0.7}}})
    assert math.isnan(found.p)
    assert math.isnan(found.q)
    assert found.difference.value == pytest.approx(0.1)


def test_seeds_of_one_victim_are_no_further_trials():
    generator = np.random.default_rng(3)
    gain = {str(victim): value for victim, value in enumerate(generator.normal(0.05, 0.1, size=6))}
    base = {victim: {str(seed): 0.5 for seed in range(20)} for victim in gain}
    many = {victim: {str(seed): 0.5 + value for seed in range(20)} for victim, value in gain.items()}
    few = {victim: {"0": 0.5 + value} for victim, value in gain.items()}
    (of_many,), (of_few,) = (against(base, {"other": other}) for other in (many, few))
    assert of_many.p == of_few.p > 0.01
    assert of_many.difference.value == pytest.approx(of_few.difference.value)
    assert of_many.difference.low == pytest.approx(of_few.difference.low, abs=0.01)
