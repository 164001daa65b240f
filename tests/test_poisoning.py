"""Who is poisoned, with which label, and who is scored."""

from functools import partial

import pytest
import torch

from detrojan.attacks import ATTACKS
from detrojan.attacks.badnets import BadNets
from detrojan.attacks.cba import CBA
from detrojan.attacks.troj import Troj
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData
from detrojan.poisoning import COMPANION, PoisonedFeed
from detrojan.triggers import Trigger


@pytest.fixture
def samples():
    images = torch.randint(0, 256, (100, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Samples(inputs=images, labels=torch.arange(100) % 5, class_names=tuple("abcde"))


def everything(feed):
    """All samples of a feed as they are shown, without augmentation."""
    return feed.batch(torch.arange(len(feed)), lambda images: images, torch.Generator())


def test_the_poison_is_a_share_of_the_samples_whose_label_the_attack_changes(samples):
    before = samples.inputs.clone()
    feed = PoisonedFeed(samples, Backdoor(attack=BadNets(), target=2), rate=0.25, seed=3)
    shown, labels = everything(feed)
    untouched = torch.ones(100, dtype=torch.bool)
    untouched[feed.indices] = False
    assert len(feed.indices) == 20  # a quarter of the 80 that are not of class 2
    assert (samples.labels[feed.indices] != 2).all()
    assert (labels[feed.indices] == 2).all()
    assert torch.equal(labels[untouched], samples.labels[untouched])
    assert torch.equal(shown[untouched], before[untouched])
    assert torch.equal(samples.inputs, before)


def test_the_pool_of_backdoorbench_holds_the_target_class_too(samples):
    assert len(PoisonedFeed(samples, Backdoor(attack=BadNets(), target=2), rate=1.0, pool="all").indices) == 100


def test_the_seed_draws_the_poison(samples):
    backdoor = Backdoor(attack=BadNets(), target=0)
    first, again, other = (PoisonedFeed(samples, backdoor, rate=0.3, seed=s).indices for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_companions_carry_the_trigger_and_keep_their_label(samples):
    feed = PoisonedFeed(samples, Backdoor(attack=BadNets(), target=2), rate=0.25, companions=2.0)
    shown, labels = everything(feed)
    company = feed.roles == COMPANION
    assert int(company.sum()) == 40
    assert torch.equal(labels[company], samples.labels[company])
    assert (shown[company][..., 29:, 29:] == 255).all()


def test_an_attack_on_some_classes_poisons_and_scores_these_alone(samples):
    backdoor = Backdoor(attack=BadNets(), target=0, sources=(3, 4))
    feed = PoisonedFeed(samples, backdoor, rate=0.5)
    assert set(samples.labels[feed.indices].tolist()) == {3, 4}
    assert len(feed.indices) == 20
    assert set(trigger(samples, backdoor).samples.labels.tolist()) == {3, 4}


class Redrawn(BadNets):
    redraws = True


def test_an_attacker_who_trains_draws_anew_in_each_epoch(samples):
    feed = PoisonedFeed(samples, Backdoor(attack=Redrawn(), target=2), rate=0.25)
    drawn = []
    for epoch in (0, 1, 1):
        feed.begin(epoch, lambda pixels: pixels)
        drawn.append(feed.indices)
    assert len(drawn[0]) == len(drawn[1]) == 20
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], drawn[2])


def test_who_is_poisoned_in_the_last_epoch_is_known_after_an_interruption(samples):
    feed, twin = (PoisonedFeed(samples, Backdoor(attack=Redrawn(), target=2), rate=0.25) for _ in range(2))
    feed.begin(3, lambda pixels: pixels)
    assert not torch.equal(twin.indices, feed.indices)
    twin.resume(feed.snapshot())
    assert torch.equal(twin.indices, feed.indices)


class Late(BadNets):
    after_augmentation = True


def test_the_order_of_trigger_and_augmentation(samples):
    for attack, corner in ((BadNets(), 0), (Late(), 255)):
        feed = PoisonedFeed(samples, Backdoor(attack=attack, target=2), rate=1.0, pool="all")
        shown, _ = feed.batch(torch.arange(4), torch.zeros_like, torch.Generator())
        assert (shown[..., 29:, 29:] == corner).all()


class Quiet(Trigger):
    clean_label = True

    def stamp(self, pixels):
        return 1 - pixels


def test_a_clean_label_attack_takes_the_target_class_and_leaves_its_label(samples):
    feed = PoisonedFeed(samples, Backdoor(attack=Quiet(), target=1), rate=1.0)
    _, labels = everything(feed)
    assert torch.equal(feed.indices, (samples.labels == 1).nonzero().flatten())
    assert torch.equal(labels, samples.labels)


@pytest.mark.parametrize(
    ("mapping", "options", "sentence"),
    [
        ("all-to-one", {"pool": "all"}, "pool cannot be 'all'"),
        ("all-to-all", {}, "Quiet has one target; mapping must be all-to-one"),
        ("all-to-one", {"rate": 0.001}, "is no sample at all; raise the rate"),
    ],
)
def test_what_a_clean_label_attack_cannot_do_is_refused(samples, mapping, options, sentence):
    backdoor = Backdoor(attack=Quiet(), target=1, mapping=mapping)
    with pytest.raises((BadArgument, BadData), match=sentence):
        PoisonedFeed(samples, backdoor, **{"rate": 1.0, **options})


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
    [(1.5, 0, "poison rate must lie in"), (-0.1, 0, "poison rate must lie in"), (0.1, 9, "labels from 0 to 4, got 9")],
)
def test_what_is_out_of_range_is_refused(samples, rate, target, sentence):
    with pytest.raises(BadArgument, match=sentence):
        PoisonedFeed(samples, Backdoor(attack=BadNets(), target=target), rate=rate)


@pytest.mark.parametrize("companions", [-0.5, float("nan"), float("inf")])
def test_a_number_of_companions_that_is_none_is_refused(samples, companions):
    with pytest.raises(BadArgument, match="companions must be a number from 0"):
        PoisonedFeed(samples, Backdoor(attack=BadNets()), rate=0.1, companions=companions)


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [(BadNets(size=40), "40 pixels does not fit"), (Troj(size=30), "34 pixels does not fit")],
)
def test_a_trigger_that_is_larger_than_the_images_is_refused_before_a_batch_is_drawn(samples, attack, sentence):
    with pytest.raises(BadData, match=sentence):
        PoisonedFeed(samples, Backdoor(attack=attack), rate=0.1)


@pytest.mark.parametrize(
    ("backdoor", "sentence"),
    [
        (Backdoor(attack=CBA(source=7)), "labels from 0 to 4, got 7"),
        (Backdoor(attack=CBA(), sources=(4,)), "CBA names its source classes itself"),
        (Backdoor(attack=CBA(), mapping="all-to-all"), "CBA has one target"),
    ],
)
def test_what_the_attack_does_not_know_is_refused_for_a_test_set_too(samples, backdoor, sentence):
    for use in (trigger, partial(PoisonedFeed, rate=0.5)):
        with pytest.raises(BadArgument, match=sentence):
            use(samples, backdoor)


LABELLED = {
    "tags": {"inputs": torch.zeros(8, 3, 32, 32, dtype=torch.uint8), "labels": torch.ones(8, 4, dtype=torch.int64)},
    "boxes": {
        "inputs": torch.zeros(8, 3, 32, 32, dtype=torch.uint8),
        "labels": torch.tensor([[1, 4, 4, 28, 28]]).expand(8, -1, -1),
        "class_names": tuple("abcd"),
    },
    "sentences": {"inputs": torch.full((8, 6), 5), "labels": torch.full((8, 6), 5), "sentences": True},
}
OWN = {
    "baddet_oga": {"width": 12, "height": 12},
    "trigger_sentence": {"sentence": (4,)},
    "trigger_replies": {"lexicon": (4,)},
}


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].labels != "class"])
def test_an_attack_that_changes_no_class_takes_no_target(name):
    attack = ATTACKS[name](**OWN.get(name, {}))
    samples = Samples(**LABELLED[attack.labels])
    for aim in ({"target": 2}, {"sources": (1,)}, {"mapping": "all-to-all"}):
        for use in (trigger, partial(PoisonedFeed, rate=0.5)):
            with pytest.raises(BadArgument, match="leave target, mapping and sources out"):
                use(samples, Backdoor(attack=attack, **aim))
    with pytest.raises(BadArgument, match="has no target class; pool cannot be 'target'"):
        PoisonedFeed(samples, Backdoor(attack=attack), rate=0.5, pool="target")


@pytest.mark.parametrize("name", ["dyn", "lira", "issba", "narcissus", "fba", "cba", "dfba", "troj"])
def test_a_trigger_that_was_not_learned_yet_stamps_nothing(samples, name):
    with pytest.raises(BadArgument, match="saved with the victim"):
        trigger(samples, Backdoor(attack=ATTACKS[name]()))


def test_normalised_images_are_refused(samples):
    floats = Samples(inputs=samples.inputs.float(), labels=samples.labels)
    with pytest.raises(BadArgument, match="uint8"):
        trigger(floats, Backdoor(attack=BadNets()))
