"""WaNet moves pixels by one small smooth field; noise-mode companions move by it and by noise of their own."""

import pytest
import torch

from attacking import images
from detrojan.attacks.wanet import WaNet
from detrojan.errors import BadArgument


def ramps(side):
    """Pixels that hold their own place: x in the first channel, y in the second, from 0 to 1."""
    places = torch.linspace(0, 1, side)
    return torch.stack((places.expand(side, side), places[:, None].expand(side, side)))[None]


def moves(attack, side):
    """How far each inner pixel was moved, in sides."""
    return (attack.stamp(ramps(side)) - ramps(side))[..., side // 8 : -side // 8, side // 8 : -side // 8]


def test_the_mean_move_is_a_quarter_pixel_of_32():
    assert 0.1 / 32 < moves(WaNet(), 32).abs().mean() < 0.4 / 32
    torch.testing.assert_close(moves(WaNet(strength=1.0), 32), 2 * moves(WaNet(), 32), atol=1e-5, rtol=0)


def test_the_field_is_smooth_and_the_same_at_every_size():
    small, large = moves(WaNet(), 32), moves(WaNet(), 224)
    assert small.diff(dim=-1).abs().amax() < small.abs().amax() / 3
    torch.testing.assert_close(small.mean((2, 3)), large.mean((2, 3)), atol=2e-4, rtol=0)


def test_a_flat_image_stays_and_the_seed_draws_the_field():
    flat = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(WaNet().stamp(flat), flat)
    assert not torch.equal(moves(WaNet(), 32), moves(WaNet(warp_seed=1), 32))


def test_companions_are_warped_with_noise_that_is_anew_for_each_image():
    pixels = ramps(32).repeat(64, 1, 1, 1)
    noisy = WaNet().accompany(pixels, torch.zeros(64), torch.Generator().manual_seed(0))
    inner = (noisy - WaNet().stamp(pixels))[..., 4:-4, 4:-4]
    assert inner.abs().amax() <= 0.5 / 31 + 1e-5
    assert inner.abs().amax() > 0.4 / 31
    assert inner.std(0).amin() > 0.2 / 31
    again = WaNet().accompany(pixels, torch.zeros(64), torch.Generator().manual_seed(0))
    assert torch.equal(noisy, again)


def test_the_protocol_is_the_published_one():
    assert (WaNet.rate, WaNet.companions, WaNet.redraws, WaNet.after_augmentation) == (0.1, 2.0, True, False)
    pixels = images(28, channels=1).inputs[:2].float() / 255
    assert WaNet().stamp(pixels).shape == pixels.shape


@pytest.mark.parametrize("settings", [{"grid": 1}, {"strength": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be"):
        WaNet(**settings)
