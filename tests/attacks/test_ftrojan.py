"""FTrojan changes two DCT coefficients of the two colour channels, and nothing else."""

import numpy as np
import pytest
import torch
from scipy import fft

from detrojan.attacks.ftrojan import FTrojan
from detrojan.errors import BadArgument


def ycrcb(pixels):
    """OpenCV's conversion of pixels (3, H, W) in [0, 1] to Y, Cr and Cb in 0..255, without its rounding."""
    red, green, blue = pixels.double().numpy() * 255
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack((luma, (red - luma) * 0.713 + 128, (blue - luma) * 0.564 + 128))


def test_two_coefficients_of_both_colour_channels_rise_by_thirty():
    pixels = 0.3 + 0.4 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = (fft.dctn(ycrcb(x[0]), axes=(1, 2), norm="ortho") for x in (pixels, FTrojan().stamp(pixels)))
    wanted = np.zeros((3, 32, 32))
    wanted[1:, 15, 15] = wanted[1:, 31, 31] = 30
    np.testing.assert_allclose(after - before, wanted, atol=0.1)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (28, 28), (40, 33)])
def test_windows_are_repeated_and_cut_at_the_edges(height, width):
    change = FTrojan().stamp(torch.full((1, 3, height, width), 0.5)) - 0.5
    window = FTrojan().stamp(torch.full((1, 3, 32, 32), 0.5)) - 0.5
    torch.testing.assert_close(change, window.repeat(1, 1, 3, 3)[..., :height, :width])


def test_a_constant_coefficient_moves_all_pixels_alike():
    change = FTrojan(positions=((0, 0),), magnitude=32.0).stamp(torch.full((1, 1, 32, 32), 0.5)) - 0.5
    torch.testing.assert_close(change, torch.full_like(change, 1 / 255))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"magnitude": 0}, "magnitude must be above 0"),
        ({"positions": ((15, 32),)}, "positions must be pairs from 0 to window - 1 = 31"),
        ({"positions": ()}, "positions must be pairs"),
        ({"window": 1}, "window must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(BadArgument, match=message):
        FTrojan(**settings)
