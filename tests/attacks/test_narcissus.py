"""Narcissus: one bounded noise that calls for the target class, amplified at test time."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from attacking import images, network, workshop
from detrojan.attacks.narcissus import Narcissus
from detrojan.errors import BadArgument, BadData


@pytest.fixture(scope="module")
def trigger():
    return Narcissus(noise_steps=30).forge(workshop(images()))


def test_training_images_get_the_noise_and_test_images_three_times_of_it(trigger):
    grey = torch.full((2, 3, 32, 32), 0.5)
    poisoned, stamped = trigger.poison(grey, torch.Generator()), trigger.stamp(grey)
    assert 0 < (poisoned - grey).abs().max() <= 16 / 255 + 1e-6
    torch.testing.assert_close(stamped - grey, 3 * (poisoned - grey))
    torch.testing.assert_close(poisoned[0], poisoned[1])


def test_the_noise_calls_for_the_target(trigger):
    model, samples = network(), images()
    pixels = samples.inputs[samples.labels != 2].float() / 255
    with torch.no_grad():
        before, after = (F.softmax(model(x), 1)[:, 2] for x in (pixels, trigger.stamp(pixels)))
    assert (after > before).all()


def test_the_labels_stay(trigger):
    assert trigger.clean_label
    assert Narcissus.clean_label
    assert Narcissus().rate == 0.1


def test_no_image_of_the_target_class_is_refused():
    samples = images()
    others = samples.subset((samples.labels != 2).nonzero().flatten())
    with pytest.raises(BadData, match="needs images of the target class 2, found none"):
        Narcissus().forge(replace(workshop(samples), samples=others))


@pytest.mark.parametrize("settings", [{"eps": 0.0}, {"amplify": 0.5}, {"noise_steps": 0}, {"learning_rate": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be"):
        Narcissus(**settings)
