"""Dyn: sparse masks that differ, a pattern that learns against the victim, and triggers that serve their own image."""

import copy

import pytest
import torch
from torch.nn import functional as F

from attacking import images, network, workshop
from detrojan.attacks._generators import UNet
from detrojan.attacks.dyn import Dyn
from detrojan.errors import BadArgument, BadData


@pytest.fixture
def samples():
    return images(16, count=60)


def made(samples, steps=2, **settings):
    return Dyn(mask_steps=steps, width=4, **settings).forge(workshop(samples))


def test_the_protocol_is_the_published_one():
    attack = Dyn()
    assert (attack.rate, attack.companions, attack.density) == (0.1, 1.0, 0.032)
    assert attack.redraws
    assert attack.after_augmentation
    assert not attack.clean_label


def test_masks_become_sparse_and_differ_from_image_to_image(samples):
    attack = made(samples, steps=40)
    with torch.no_grad():
        mask = attack.mask(samples.inputs.float() / 255)
    assert 0.005 < mask.mean() < 0.05
    assert (mask[:-1] - mask[1:]).abs().mean() > 0.2 * mask.mean()
    assert ((mask < 0.1) | (mask > 0.9)).float().mean() > 0.9


def test_the_trigger_is_the_pattern_where_the_mask_is(samples):
    attack, pixels = made(samples), samples.inputs[:4].float() / 255
    with torch.no_grad():
        wanted = pixels + (attack.pattern(pixels) - pixels) * attack.mask(pixels)
        torch.testing.assert_close(attack.stamp(pixels), wanted)


def test_a_cross_sample_carries_the_trigger_of_another_image(samples):
    attack, pixels = made(samples), samples.inputs[:2].float() / 255
    labels, generator = torch.zeros(2, dtype=torch.int64), torch.Generator().manual_seed(0)
    with torch.no_grad():
        torch.testing.assert_close(attack.accompany(pixels, labels, generator), attack.cross(pixels, pixels.flip(0)))
        assert torch.equal(attack.accompany(pixels[:1], labels[:1], generator), pixels[:1])


def test_the_pattern_learns_to_reach_the_wanted_label_and_nothing_else_moves(samples):
    attack, model, pixels = made(samples, diversity=0.0), network(), samples.inputs.float() / 255
    wanted, generator = torch.full((len(pixels),), 2), torch.Generator().manual_seed(0)
    placer, victim = copy.deepcopy(attack.placer.state_dict()), copy.deepcopy(model.state_dict())

    def sharp(inputs):
        return 100 * model(inputs)

    with torch.no_grad():
        before = F.cross_entropy(sharp(attack.stamp(pixels)), wanted)
    for _ in range(20):
        attack.adapt(sharp, pixels, samples.labels, wanted, generator)
    with torch.no_grad():
        after = F.cross_entropy(sharp(attack.stamp(pixels)), wanted)
    assert after < before - 0.5
    assert all(torch.equal(value, placer[name]) for name, value in attack.placer.state_dict().items())
    assert all(torch.equal(value, victim[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in (*model.parameters(), *attack.placer.parameters()))


def test_a_blank_trigger_goes_on_from_a_snapshot(samples):
    attack, model, pixels = made(samples), network(), samples.inputs.float() / 255
    wanted = torch.full((len(pixels),), 2)
    attack.adapt(model, pixels, samples.labels, wanted, torch.Generator().manual_seed(0))
    twin = Dyn(mask_steps=2, width=4).blank((3, 16, 16))
    twin.resume(copy.deepcopy(attack.snapshot()))
    for one in (attack, twin):
        one.adapt(model, pixels, samples.labels, wanted, torch.Generator().manual_seed(1))
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in attack.state_dict().items())


def test_a_batch_too_small_to_learn_from_is_left_alone(samples):
    attack, before = made(samples), copy.deepcopy(made(samples).state_dict())
    attack.adapt(
        network(), samples.inputs[:2].float() / 255, samples.labels[:2], torch.tensor([2, 2]), torch.Generator()
    )
    assert all(torch.equal(value, before[name]) for name, value in attack.state_dict().items())


def test_grey_images_of_odd_size_work():
    grey = images(28, channels=1, count=20)
    attack = made(grey)
    with torch.no_grad():
        assert attack.stamp(grey.inputs[:2].float() / 255).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"density": 0.0}, "density must lie between 0 and 1, got 0.0"), ({"width": 6}, "multiple of 4 .* got 6")],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        Dyn(**settings)


def test_an_image_too_small_for_the_networks_is_refused():
    with pytest.raises(BadData, match="at least 4 pixels"):
        UNet(3, 3, 4)(torch.zeros(1, 3, 2, 2))
