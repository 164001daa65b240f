"""Intervals of averages that are no shares."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import bootstrap

from detrojan.intervals import LEVEL, average


def test_an_interval_of_many_values_takes_little_memory_and_is_that_of_one_draw():
    values = np.random.default_rng(1).random(5000)
    tracemalloc.start()
    found = average(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    options = {"n_resamples": 2000, "confidence_level": LEVEL, "method": "percentile", "rng": np.random.default_rng(0)}
    whole = bootstrap((values,), np.mean, **options).confidence_interval
    assert (found.low, found.high) == (whole.low, whole.high)
    assert found.value == pytest.approx(values.mean())
