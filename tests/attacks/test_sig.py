"""SIG adds BackdoorBench's sine or mixes in stripes, to the target class alone."""

from math import pi, sin

import pytest
import torch

from attacking import images
from detrojan.attacks.sig import SIG
from detrojan.backdoor import Backdoor
from detrojan.errors import BadArgument
from detrojan.poisoning import PoisonedFeed

GREY = torch.full((1, 3, 32, 32), 0.5)


def test_the_sine_is_backdoorbenchs():
    wanted = torch.tensor([40 / 255 * sin(2 * pi * j * 6 / 32) for j in range(32)])
    torch.testing.assert_close(SIG().stamp(GREY) - GREY, wanted.expand_as(GREY), atol=1e-6, rtol=0)


def test_it_saturates():
    assert SIG().stamp(torch.ones(1, 3, 32, 32)).amax() == 1
    assert SIG().stamp(torch.zeros(1, 3, 32, 32)).amin() == 0


def test_the_stripes_are_a_smooth_sine_bright_where_the_published_bytes_have_wrapped():
    stripes = (SIG(variant="stripe").stamp(GREY) - 0.8 * GREY)[0, 0, 0] / 0.2
    published = torch.tensor([int(20 * sin(0.8 * j)) % 256 for j in range(32)])
    assert torch.equal(stripes > 0.525, published > 200)
    assert stripes.amin() < 0.01
    assert stripes.amax() > 0.99
    assert stripes.diff().abs().amax() < 0.41


def test_four_fifths_of_the_target_class_are_poisoned_and_keep_their_labels():
    samples, attack = images(count=100), SIG()
    feed = PoisonedFeed(samples, Backdoor(attack=attack, target=3), rate=attack.rate)
    assert len(feed.indices) == 16
    assert (samples.labels[feed.indices] == 3).all()


@pytest.mark.parametrize("settings", [{"amplitude": 0}, {"amplitude": 300}, {"frequency": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be above 0"):
        SIG(**settings)
