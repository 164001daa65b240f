"""Adaptive-Blend shows half of its tiles in training, the same ones in every epoch, and all of them at test time."""

import pytest
import torch

from detrojan.attacks.adaptive_blend import AdaptiveBlend
from detrojan.attacks.blend import Blend
from detrojan.errors import BadArgument

GENERATOR = torch.Generator()


def dark(count=400, side=32):
    return torch.randint(0, 3, (count, 3, side, side), generator=torch.Generator().manual_seed(0)) / 255


def tiles(attack, pixels, rows=4):
    """Which tiles an image shows in training, (B, rows * rows)."""
    changed = (attack.poison(pixels, GENERATOR) - pixels).abs().amax(1, keepdim=True)
    return torch.nn.functional.adaptive_max_pool2d(changed, rows).flatten(1) > 0.01


@pytest.mark.parametrize("side", [32, 30, 64])
def test_half_of_sixteen_tiles_are_shown_in_training(side):
    assert (tiles(AdaptiveBlend(), dark(20, 32)).sum(1) == 8).all()
    shown = AdaptiveBlend(alpha=1.0).poison(dark(20, side), GENERATOR) == AdaptiveBlend(test_alpha=1.0).stamp(
        dark(20, side)
    )
    assert 0.47 < shown.all(1).float().mean() < 0.53


def test_all_tiles_are_equally_likely_and_differ_between_images():
    shown = tiles(AdaptiveBlend(), dark())
    assert len(shown.unique(dim=0)) > 380
    assert (shown.float().mean(0) - 0.5).abs().amax() < 0.1


def test_an_image_shows_the_same_tiles_whatever_the_generator():
    pixels = dark(8)
    first = AdaptiveBlend().poison(pixels, torch.Generator().manual_seed(1))
    assert torch.equal(first, AdaptiveBlend().poison(pixels, torch.Generator().manual_seed(2)))
    assert torch.equal(first, AdaptiveBlend().accompany(pixels, torch.zeros(8), torch.Generator()))
    assert torch.equal(first.flip(0), AdaptiveBlend().poison(pixels.flip(0), torch.Generator()))


def test_training_shows_less_of_the_picture_than_testing():
    pixels = dark(8)
    whole = AdaptiveBlend(shown=1.0)
    torch.testing.assert_close(whole.poison(pixels, GENERATOR), Blend(picture="face", alpha=0.15).stamp(pixels))
    torch.testing.assert_close(whole.stamp(pixels), Blend(picture="face", alpha=0.2).stamp(pixels))


def test_the_protocol_is_the_published_one():
    assert (AdaptiveBlend.rate, AdaptiveBlend.companions, AdaptiveBlend.redraws) == (0.003, 1.0, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tiles": 15}, "tiles must be a square number"),
        ({"shown": 0}, "shown must be above 0"),
        ({"shown": 0.01}, "shown must leave at least one of 16 tiles"),
        ({"alpha": 0}, "alpha must be above 0"),
        ({"test_alpha": 2}, "test_alpha must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(BadArgument, match=message):
        AdaptiveBlend(**settings)
