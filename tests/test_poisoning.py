"""Who is poisoned, with which label, and who is scored."""

import pytest
import torch

from detrojan.attacks import ATTACKS
from detrojan.attacks.badnets import BadNets
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.poisoning import Backdoor, poison, trigger


@pytest.fixture
def samples():
    images = torch.randint(0, 256, (100, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Samples(inputs=images, labels=torch.arange(100) % 5, class_names=tuple("abcde"))


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_poisons_its_share_and_nothing_else(samples, name):
    before = samples.inputs.clone()
    made = poison(samples, Backdoor(attack=ATTACKS[name](), target=2), rate=0.25, seed=3)
    untouched = torch.ones(100, dtype=torch.bool)
    untouched[made.indices] = False
    assert len(made.indices) == 20  # a quarter of the 80 that are not of class 2
    assert (samples.labels[made.indices] != 2).all()
    assert (made.samples.labels[made.indices] == 2).all()
    assert torch.equal(made.samples.inputs[untouched], before[untouched])
    assert (made.samples.inputs[made.indices] != before[made.indices]).flatten(1).any(1).all()
    assert torch.equal(samples.inputs, before)


def test_the_pool_of_backdoorbench_holds_the_target_class_too(samples):
    made = poison(samples, Backdoor(attack=BadNets(), target=2), rate=1.0, pool="all")
    assert len(made.indices) == 100


def test_the_seed_draws_the_poison(samples):
    backdoor = Backdoor(attack=BadNets(), target=0)
    first, again, other = (poison(samples, backdoor, rate=0.3, seed=s).indices for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_asr_leaves_out_the_samples_that_have_the_wanted_label(samples):
    made = trigger(samples, Backdoor(attack=BadNets(), target=1))
    assert len(made.samples) == 80
    assert (made.samples.labels != 1).all()
    assert (made.wanted == 1).all()


def test_all_to_all_wants_the_next_label_and_scores_everybody(samples):
    made = trigger(samples, Backdoor(attack=BadNets(), mapping="all-to-all"))
    assert len(made.samples) == 100
    assert torch.equal(made.wanted, (samples.labels + 1) % 5)


@pytest.mark.parametrize(
    ("rate", "target", "sentence"),
    [(1.5, 0, "poison rate must lie in"), (-0.1, 0, "poison rate must lie in"), (0.1, 9, "label from 0 to 4, got 9")],
)
def test_what_is_out_of_range_is_refused(samples, rate, target, sentence):
    with pytest.raises(BadArgument, match=sentence):
        poison(samples, Backdoor(attack=BadNets(), target=target), rate=rate)


def test_normalised_images_are_refused(samples):
    floats = Samples(inputs=samples.inputs.float(), labels=samples.labels)
    with pytest.raises(BadArgument, match="uint8"):
        trigger(floats, Backdoor(attack=BadNets()))
