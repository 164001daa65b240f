"""What holds for every attack of the registry: an attack is tested by existing."""

from contextlib import suppress

import pytest
import torch
from torch import nn

from attacking import CLASSES, images, network_for, quick, samples_for, workshop
from detrojan import checkpoint
from detrojan.attacks import ATTACKS
from detrojan.augmentation import pixels_of
from detrojan.backdoor import Backdoor, trigger
from detrojan.errors import BadArgument, BadData
from detrojan.poisoning import COMPANION, POISON, PoisonedFeed
from detrojan.triggers import Trigger

NAMES = [name for name in ATTACKS if ATTACKS[name].labels == "class"]  # on other labels: tests/tasks
POISONING = [name for name in NAMES if quick(name).rate > 0]


@pytest.fixture
def samples(name):
    return samples_for(name)


def made(name, samples, **settings):
    return quick(name).forge(workshop(samples, **settings))


def feed(name, samples, *, rate=None, mapping="all-to-one", seed=0):
    attack = made(name, samples, mapping=mapping)
    return PoisonedFeed(
        samples,
        Backdoor(attack=attack, target=2, mapping=mapping),
        rate=attack.rate if rate is None else rate,
        seed=seed,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_a_trigger_keeps_shape_range_and_input_and_repeats_itself(name, size):
    samples = samples_for(name, size, count=20)
    attack = made(name, samples)
    assert isinstance(attack, Trigger)
    pixels = pixels_of(samples.inputs[:6])
    before = pixels.clone()
    with torch.no_grad():
        stamped = attack.stamp(pixels)
        again = attack.stamp(pixels)
        alone = torch.cat([attack.stamp(one[None]) for one in pixels])
    assert stamped.shape == pixels.shape
    assert torch.isfinite(stamped).all()
    assert samples.kind in ("points", "tokens") or 0 <= stamped.amin() <= stamped.amax() <= 1
    assert torch.equal(pixels, before)
    assert not torch.equal(stamped, before)
    assert torch.equal(stamped, again)
    torch.testing.assert_close(stamped, alone, atol=1e-4, rtol=0)  # the others of a batch do not matter


@pytest.mark.parametrize("name", [name for name in NAMES if "images" in ATTACKS[name].kinds])
@pytest.mark.parametrize(("channels", "side"), [(1, 32), (4, 32), (3, 48)])
def test_images_of_another_shape_are_stamped_whole_or_refused(name, channels, side):
    attack, others = made(name, images(count=20)), images(side, channels=channels, count=20)
    with suppress(BadData):
        assert trigger(others, Backdoor(attack=attack, target=2)).samples.inputs.shape[1:] == (channels, side, side)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_trigger(name, samples):
    first, again = made(name, samples), made(name, samples)
    assert torch.equal(
        Backdoor(attack=first).stamp(samples.inputs[:8]), Backdoor(attack=again).stamp(samples.inputs[:8])
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_survives_its_file(name, samples, tmp_path):
    attack = made(name, samples)
    if not isinstance(attack, nn.Module):
        pytest.skip("learns nothing")
    checkpoint.save(tmp_path / "t.safetensors", attack)
    twin = quick(name).blank(tuple(samples.inputs.shape[1:]))
    twin.restore(checkpoint.read(tmp_path / "t.safetensors").state)
    with torch.no_grad():
        pixels = pixels_of(samples.inputs[:8])
        assert torch.equal(attack.eval().stamp(pixels), twin.stamp(pixels))


@pytest.mark.parametrize("name", [name for name in NAMES if quick(name).rate == 0])
def test_an_attack_that_poisons_nothing_takes_no_rate(name, samples):
    with pytest.raises(BadArgument, match=r"written into the weights; leave the poison rate out, got 0\.1"):
        feed(name, samples, rate=0.1)


@pytest.mark.parametrize("name", POISONING)
def test_an_epoch_holds_exactly_the_poison_that_was_asked_for(name, samples):
    source = feed(name, samples, rate=0.5)
    source.harden(workshop(samples))
    untouched = samples.inputs.clone()
    model = network_for(samples)
    for epoch in range(2):
        source.begin(epoch, model)
        generator = torch.Generator().manual_seed(0)
        shown, labels = source.batch(torch.arange(len(samples)), lambda x: x, generator)
        poisoned, clean = source.roles == POISON, source.roles == 0
        assert int(poisoned.sum()) == round(0.5 * len(source.candidates))
        assert torch.equal(shown[clean], samples.inputs[clean])
        assert torch.equal(labels[~poisoned], samples.labels[~poisoned])
        assert (labels[poisoned] == 2).all()
        assert shown.dtype == samples.inputs.dtype
        if source.backdoor.attack.clean_label:
            assert (samples.labels[poisoned] == 2).all()
        elif not source.backdoor.attack.sources:
            assert (samples.labels[poisoned] != 2).all()
        assert (shown[poisoned] != samples.inputs[poisoned]).flatten(1).any(1).all()
    assert torch.equal(samples.inputs, untouched)
    assert int((source.roles == COMPANION).sum()) == source.companions


@pytest.mark.parametrize("name", POISONING)
def test_all_to_all_counts_the_next_label(name, samples):
    attack = quick(name)
    if attack.clean_label or attack.sources or attack.one_target:
        pytest.skip("has one target by nature")
    source = feed(name, samples, rate=0.5, mapping="all-to-all")
    _, labels = source.batch(torch.arange(len(samples)), lambda x: x, torch.Generator())
    assert torch.equal(labels[source.indices], (samples.labels[source.indices] + 1) % CLASSES)
    scored = trigger(samples, source.backdoor)
    assert len(scored.samples) == len(samples)


@pytest.mark.parametrize("name", POISONING)
def test_a_snapshot_gives_the_trigger_back(name, samples):
    source, twin = feed(name, samples, rate=0.5), feed(name, samples, rate=0.5, seed=0)
    source.harden(workshop(samples))
    source.begin(0, network_for(samples))
    source.batch(torch.arange(len(samples)), lambda x: x, torch.Generator().manual_seed(1))
    twin.resume(source.snapshot())
    with torch.no_grad():
        pixels = pixels_of(samples.inputs[:8])
        assert torch.equal(source.backdoor.attack.stamp(pixels), twin.backdoor.attack.stamp(pixels))
    assert torch.equal(source.images, twin.images)
