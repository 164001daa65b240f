"""ISSBA: the secret can be read again, the residual is bounded and each image has its own."""

import pytest
import torch

from attacking import images, workshop
from detrojan.attacks.issba import ISSBA
from detrojan.backdoor import Backdoor
from detrojan.errors import BadArgument


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 40, 48), (3, 30, 33)])
def test_images_of_any_size_get_a_residual_within_the_bound(shape):
    trigger = ISSBA(bound=0.05).blank(shape)
    pixels = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = trigger.stamp(pixels) - pixels
        assert trigger.read(pixels).shape == (4, 20)
    assert 0 < change.abs().max() <= 0.05 + 1e-6
    assert not torch.allclose(change[0], change[1], atol=1e-4)


def test_the_encoder_is_small_and_the_same_when_made_again():
    first, again = ISSBA().blank((3, 32, 32)), ISSBA().blank((3, 32, 32))
    assert 80_000 < sum(p.numel() for p in first.encoder.parameters()) < 120_000
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_secret_that_was_learned_is_read_from_the_stored_bytes():
    samples = images(16, count=40)
    trigger = ISSBA(bits=4, encoder_steps=60, learning_rate=4e-3).forge(workshop(samples))
    stamped = Backdoor(attack=trigger).stamp(samples.inputs)
    assert set(trigger.secret.tolist()) <= {0.0, 1.0}
    assert (trigger.read(stamped.float() / 255) == trigger.secret).float().mean() > 0.95
    assert (trigger.read(samples.inputs.float() / 255) == trigger.secret).float().mean() < 0.9
    assert not any(p.requires_grad for p in trigger.parameters())


def test_another_seed_hides_another_secret():
    samples = images(16, count=10)
    first, second = (ISSBA(encoder_steps=1).forge(workshop(samples, seed=seed)) for seed in (0, 1))
    assert not torch.equal(first.secret, second.secret)


@pytest.mark.parametrize("settings", [{"bits": 0}, {"bound": 0.0}, {"encoder_steps": 0}, {"learning_rate": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be .*, got 0"):
        ISSBA(**settings)
