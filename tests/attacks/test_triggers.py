"""Every trigger keeps the pixel range and the input; the patterns are those of the literature."""

import pytest
import torch

from detrojan.attacks.badnets import BadNets
from detrojan.attacks.blend import Blend
from detrojan.errors import BadArgument, BadData


def test_the_white_patch_is_opaque_and_only_in_the_corner():
    stamped = BadNets().stamp(torch.zeros(1, 3, 32, 32))
    assert (stamped[..., 29:, 29:] == 1).all()
    assert stamped.sum() == 27


def test_the_checker_is_the_nft_codes_with_its_opacity():
    stamped = BadNets(pattern="checker", alpha=0.6).stamp(torch.zeros(1, 1, 32, 32))
    wanted = 0.6 * torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    torch.testing.assert_close(stamped[0, 0, 29:, 29:], wanted)


def test_the_patch_scales_with_the_image():
    assert BadNets().stamp(torch.zeros(1, 1, 224, 224)).sum() == 21 * 21


def test_blend_mixes_one_fixed_picture_with_its_share():
    black = Blend(alpha=0.2).stamp(torch.zeros(1, 3, 32, 32))
    white = Blend(alpha=0.2).stamp(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(white - black, torch.full_like(black, 0.8))
    assert 0.09 < black.mean() < 0.11  # uniform over 0..255: mean 127.5
    assert 0.05 < black.std() < 0.065  # std 73.6 of 255, times 0.2
    assert not torch.equal(black, Blend(picture_seed=1).stamp(torch.zeros(1, 3, 32, 32)))


@pytest.mark.parametrize("alpha", [0.0, 1.5])
@pytest.mark.parametrize("attack", [BadNets, Blend])
def test_an_opacity_out_of_range_is_refused(attack, alpha):
    with pytest.raises(BadArgument, match=f"alpha must be above 0 and at most 1, got {alpha}"):
        attack(alpha=alpha)


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("margin", -1)])
def test_a_patch_without_a_side_or_off_the_image_is_refused(name, value):
    with pytest.raises(BadArgument, match=f"{name} must be at least .*, got {value}"):
        BadNets(**{name: value})


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(BadData, match="does not fit"):
        BadNets(size=40).stamp(torch.zeros(1, 3, 32, 32))
