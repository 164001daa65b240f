"""LF adds one smooth pattern of a stated amplitude, the same at every image size."""

import numpy as np
import pytest
import torch
from scipy import fft
from torch.nn import functional as F

from detrojan.attacks.lf import LF
from detrojan.errors import BadArgument


def pattern(side=32, channels=3, **settings):
    grey = torch.full((1, channels, side, side), 0.5)
    return (LF(**settings).stamp(grey) - grey)[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("amplitude", [10.0, 25.5])
def test_the_amplitude_is_reached_on_both_sides(amplitude, channels):
    change = pattern(amplitude=amplitude, channels=channels) * 255
    torch.testing.assert_close(torch.stack(change.aminmax()), torch.tensor([-amplitude, amplitude]), rtol=1e-3, atol=0)


def test_hardly_anything_is_left_above_the_fifth_frequency():
    power = fft.dctn(pattern().numpy(), axes=(1, 2), norm="ortho") ** 2
    assert power[:, :5, :5].sum() / power.sum() > 0.995
    assert (
        fft.dctn(pattern(sigma=1).numpy(), axes=(1, 2), norm="ortho")[:, 5:, 5:].std()
        > 10 * np.sqrt(power[:, 5:, 5:]).std()
    )


def test_the_pattern_is_the_same_at_every_size():
    torch.testing.assert_close(F.avg_pool2d(pattern(128)[None], 4)[0], pattern(32), atol=0.006, rtol=0)


def test_the_seed_draws_the_pattern():
    assert torch.equal(pattern(), pattern())
    assert (pattern() - pattern(pattern_seed=1)).abs().amax() > 0.05


@pytest.mark.parametrize("settings", [{"amplitude": 0}, {"amplitude": 256}, {"sigma": -1}, {"sigma": 20}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must"):
        LF(**settings)
