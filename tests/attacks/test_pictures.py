"""The waves are the DCT's, the low-pass is a Gaussian blur, and an image's own draws depend on its bytes alone."""

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from detrojan.attacks import _pictures as pictures


def test_the_surface_is_the_inverse_dct():
    coefficients = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    ours = pictures.surface(coefficients, *[pictures.cosines(pictures.centres(20), 12)] * 2)
    scaled = coefficients.double().numpy() * np.outer(*[np.where(np.arange(12), 0.5, 1)] * 2)
    theirs = fft.idctn(scaled, s=(20, 20), type=2, norm="forward")
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_the_low_pass_is_a_gaussian_blur_that_mirrors_at_the_edges():
    picture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 2)
    kept = pictures.low_pass(64, 3 / 64).numpy()
    ours = fft.idctn(fft.dctn(picture) * np.outer(kept, kept))
    np.testing.assert_allclose(ours, ndimage.gaussian_filter(picture, 3, mode="reflect", truncate=8), atol=2e-4)


def test_a_low_pass_per_image_is_that_of_each_image():
    several = pictures.low_pass(8, torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(several, torch.stack([pictures.low_pass(8, 0.1), pictures.low_pass(8, 0.2)]))


@pytest.mark.parametrize("channels", [1, 3])
def test_own_draws_follow_the_bytes_and_not_the_place(channels):
    stored = torch.randint(0, 256, (6, channels, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels = stored / 255
    draws = pictures.own_draws(pixels, 5, seed=0, name="x")
    assert draws.shape == (6, 5)
    assert draws.unique().numel() == 30
    assert torch.equal(draws.flip(0), pictures.own_draws(pixels.flip(0), 5, seed=0, name="x"))
    assert torch.equal(draws, pictures.own_draws(pixels + 1e-4, 5, seed=0, name="x"))
    assert not torch.isin(draws, pictures.own_draws(pixels, 5, seed=1, name="x")).any()
    assert not torch.isin(draws, pictures.own_draws(pixels, 5, seed=0, name="y")).any()
    assert pictures.own_draws(pixels[:0], 5, seed=0, name="x").shape == (0, 5)
