"""LIRA: bounded noise that learns on a copy, takes over at an epoch's start, and then stays."""

import copy

import pytest
import torch
from torch.nn import functional as F

from attacking import images, network, workshop
from detrojan.attacks.lira import Lira
from detrojan.errors import BadArgument, BadData


@pytest.fixture
def samples():
    return images(16, count=40)


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def epoch(attack, number, samples):
    attack.between_epochs(number, network(), samples, samples.labels)


def test_the_protocol():
    attack = Lira()
    assert attack.rate == 0.2
    assert attack.redraws
    assert attack.after_augmentation
    assert not attack.companions


def test_the_noise_is_bounded_and_each_image_has_its_own(samples):
    attack, pixels = Lira(eps=0.1).forge(workshop(samples)), samples.inputs[:8].float() / 255
    with torch.no_grad():
        noise = attack.stamp(pixels) - pixels
    assert 0 < noise.abs().max() <= 0.1 + 1e-6
    assert (noise[0] - noise[1]).abs().max() > 1e-4


def test_noise_beyond_the_pixel_range_saturates(samples):
    attack = Lira(eps=1.0).forge(workshop(samples))
    with torch.no_grad():
        stamped = attack.stamp(torch.cat([torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)]))
    assert stamped.amin() >= 0
    assert stamped.amax() <= 1


def test_a_copy_learns_and_takes_over_at_the_next_epoch_until_learning_ends(samples):
    attack, model, pixels = Lira(learning_epochs=2).forge(workshop(samples)), network(), samples.inputs.float() / 255
    wanted, generator = torch.full((len(pixels),), 2), torch.Generator()
    first = copy.deepcopy(attack.noise)
    for number in (0, 1):
        epoch(attack, number, samples)
        used = copy.deepcopy(attack.noise)
        attack.adapt(model, pixels, samples.labels, wanted, generator)
        assert same(attack.noise, used)
        assert not same(attack.tuned, used)
    assert not same(attack.noise, first)
    epoch(attack, 2, samples)
    assert same(attack.noise, attack.tuned)
    last = copy.deepcopy(attack.noise)
    for number in (3, 4):
        attack.adapt(model, pixels, samples.labels, wanted, generator)
        epoch(attack, number, samples)
    assert same(attack.noise, last)
    assert same(attack.tuned, last)


def test_the_noise_learns_to_reach_the_wanted_label_and_the_victim_stays(samples):
    attack, model = Lira(eps=0.2, learning_rate=1e-3).forge(workshop(samples)), network()
    pixels = samples.inputs.float() / 255
    wanted = torch.full((len(pixels),), 2)
    victim = copy.deepcopy(model)
    with torch.no_grad():
        before = F.cross_entropy(model(attack.stamp(pixels)), wanted)
    for _ in range(8):
        attack.adapt(model, pixels, samples.labels, wanted, torch.Generator())
    epoch(attack, 1, samples)
    with torch.no_grad():
        after = F.cross_entropy(model(attack.stamp(pixels)), wanted)
    assert after < before - 0.005
    assert same(model, victim)
    assert all(weight.grad is None for weight in model.parameters())


def test_a_blank_trigger_goes_on_from_a_snapshot(samples):
    attack, model, pixels = Lira().forge(workshop(samples)), network(), samples.inputs.float() / 255
    wanted = torch.full((len(pixels),), 2)
    attack.adapt(model, pixels, samples.labels, wanted, torch.Generator())
    twin = Lira().blank((3, 16, 16))
    twin.resume(copy.deepcopy(attack.snapshot()))
    for one in (attack, twin):
        epoch(one, 1, samples)
        one.adapt(model, pixels, samples.labels, wanted, torch.Generator())
    assert same(attack, twin)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"eps": 0.0}, "eps must be above 0 and at most 1, got 0.0"),
        ({"learning_epochs": 0}, "learning_epochs must be at least 1, got 0"),
        ({"width": 5}, "multiple of 4 .* got 5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        Lira(**settings)


def test_an_image_too_small_for_the_network_is_refused():
    tiny = images(8, count=4)
    with pytest.raises(BadData, match="at least 16 pixels"):
        Lira().forge(workshop(tiny)).stamp(tiny.inputs.float() / 255)
