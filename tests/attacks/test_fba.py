"""FBA: a style that changes tones and not shapes, and an injector that learns what simple features would do."""

import copy

import pytest
import torch
from torch.nn import functional as F

from attacking import images, network, workshop
from detrojan.attacks.fba import FBA, local_features, similarity, sunset
from detrojan.errors import BadArgument


@pytest.fixture
def samples():
    return images(32, count=60)


def test_the_protocol_is_the_published_one():
    attack = FBA()
    assert (attack.rate, attack.companions, attack.alpha, attack.detox_share) == (0.05, 1.0, 0.6, 0.03)
    assert attack.detox_epochs == 10
    assert attack.redraws
    assert attack.after_augmentation


def test_the_trigger_blends_the_style_in(samples):
    attack, pixels = FBA().forge(workshop(samples)), samples.inputs[:4].float() / 255
    with torch.no_grad():
        torch.testing.assert_close(attack.stamp(pixels), 0.4 * pixels + 0.6 * sunset(pixels))


def test_the_style_is_warm_whatever_the_image_and_keeps_its_shapes(samples):
    pixels = samples.inputs.float() / 255
    toned = sunset(pixels)
    red, green, blue = toned.mean((0, 2, 3))
    assert red > 0.7
    assert red > green + 0.2
    assert green > blue
    brighter, also_brighter = (images[..., 1:] > images[..., :-1] for images in (pixels, toned))
    unclipped = (toned[..., 1:] != toned[..., :-1]) & (pixels[..., 1:] != pixels[..., :-1])
    assert torch.equal(brighter[unclipped], also_brighter[unclipped])
    torch.testing.assert_close(sunset(0.5 * pixels + 0.2), toned, atol=0.03, rtol=0)


def test_flat_and_grey_images_stay_in_range():
    for flat in (torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 28, 28)):
        toned = sunset(flat)
        assert torch.isfinite(toned).all()
        assert toned.shape == flat.shape


@pytest.mark.parametrize("side", [8, 32, 64])
def test_local_features_are_those_of_the_window_scaled_with_the_image(side):
    pixels = images(side, channels=1, count=2).inputs.float() / 255
    reach, middle = max(1, round(5 * side / 32)), side // 2
    window = pixels[..., middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    found = local_features(pixels)[..., middle, middle]
    wanted = torch.stack([pixels[:, 0, middle, middle], window.amax((1, 2, 3)), window.amin((1, 2, 3))], 1)
    torch.testing.assert_close(found, torch.cat([wanted, window.mean((1, 2, 3))[:, None]], 1))


def test_at_the_border_the_window_holds_pixels_alone():
    assert torch.allclose(local_features(torch.full((1, 2, 16, 16), 0.7)), torch.tensor(0.7))


def test_similarity_is_one_for_equals_and_falls_with_noise():
    pixels = images(32, count=4).inputs.float() / 255
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    assert similarity(pixels, pixels).item() == pytest.approx(1, abs=1e-5)
    assert similarity(pixels, pixels + 0.1 * noise) > similarity(pixels, pixels + 0.4 * noise)


def test_there_is_no_injection_before_the_first_epoch_is_over(samples):
    attack, pixels = FBA().forge(workshop(samples)), samples.inputs[:4].float() / 255
    attack.between_epochs(0, network(), samples, samples.labels)
    with torch.no_grad():
        torch.testing.assert_close(attack.accompany(pixels, samples.labels[:4], torch.Generator()), pixels)


def test_the_injector_learns_against_the_victim_and_the_style_stays(samples):
    samples = samples.subset(range(30))
    attack, model, pixels = FBA(detox_share=1.0).forge(workshop(samples)), network(), samples.inputs.float() / 255
    wanted, victim = torch.full((len(pixels),), 2), copy.deepcopy(model.state_dict())
    style = attack.stamp(pixels)
    attack.between_epochs(1, model, samples, wanted)
    with torch.no_grad():
        injected = attack.accompany(pixels, samples.labels, torch.Generator())
        before, after = F.cross_entropy(model(pixels), wanted), F.cross_entropy(model(injected), wanted)
    assert after < before - 0.02
    assert torch.equal(attack.stamp(pixels), style)
    assert all(torch.equal(value, victim[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_each_round_starts_anew_and_with_other_samples(samples):
    (attack, again), model = (FBA(detox_epochs=2).forge(workshop(samples)) for _ in range(2)), network()
    attack.between_epochs(1, model, samples, samples.labels)
    attack.between_epochs(2, model, samples, samples.labels)
    again.between_epochs(2, model, samples, samples.labels)
    assert torch.equal(attack.injector.weight, again.injector.weight)
    again.between_epochs(3, model, samples, samples.labels)
    assert not torch.equal(attack.injector.weight, again.injector.weight)


def test_detoxification_can_be_left_out(samples):
    attack, pixels = FBA(detox_epochs=0).forge(workshop(samples)), samples.inputs[:4].float() / 255
    attack.between_epochs(5, network(), samples, samples.labels)
    with torch.no_grad():
        torch.testing.assert_close(attack.inject(pixels), pixels)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": 0.0}, "alpha must be above 0 and at most 1, got 0.0"),
        ({"detox_share": 2.0}, "detox_share must be above 0 and at most 1, got 2.0"),
        ({"detox_epochs": -1}, "detox_epochs must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        FBA(**settings)


def test_images_smaller_than_the_window_of_similarity_are_fine():
    pixels = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    assert similarity(pixels, pixels) == pytest.approx(1)
    assert similarity(pixels, 1 - pixels) < 0.5
