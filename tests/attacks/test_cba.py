"""CBA: half of an image beside half of another, by dice that an image's own bytes throw; three classes."""

import pytest
import torch

from attacking import images, workshop
from detrojan.attacks.cba import CBA, join
from detrojan.backdoor import Backdoor, trigger
from detrojan.errors import BadArgument, BadData


@pytest.fixture
def samples():
    return images(32, count=60)


def dice(count, seed=0):
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))


def test_the_protocol_is_that_of_the_docstring():
    attack = CBA(source=4)
    assert (attack.rate, attack.companions, attack.sources) == (0.5, 4.0, (4,))
    assert attack.one_target
    assert attack.redraws
    assert not attack.after_augmentation


@pytest.mark.parametrize("side", [32, 64])
def test_both_halves_are_seen_and_the_cut_is_near_the_middle(side):
    black, white = torch.zeros(200, 3, side, side), torch.ones(200, 3, side, side)
    shares = join(black, white, dice(200)).mean((1, 2, 3)) * 32
    assert shares.amin() >= 13
    assert shares.amax() <= 19
    assert len(shares.round().unique()) == 7


def test_all_four_arrangements_occur():
    joined = join(torch.zeros(64, 1, 32, 32), torch.ones(64, 1, 32, 32), dice(64))[:, 0]
    corners = {(float(one[0, 0]), float(one[0, -1]), float(one[-1, 0])) for one in joined}
    assert corners == {(0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0)}


def test_each_half_is_a_window_of_its_image():
    columns = torch.arange(32.0).expand(50, 1, 32, 32) / 100
    chosen = dice(50)
    chosen[:, 1] = 0.9  # side by side
    joined = join(columns, columns + 0.5, chosen)[:, 0, 0]
    steps = joined.diff(dim=1)
    assert ((steps - 0.01).abs() < 1e-6).sum(1).eq(30).all()  # one break, at the cut


def test_the_bank_is_of_the_partner_class_and_a_small_class_is_repeated(samples):
    attack = CBA(bank=30).forge(workshop(samples, target=0))
    partners = samples.inputs[samples.labels == 3]
    assert attack.bank.dtype == torch.uint8
    assert all((one == partners).flatten(1).all(1).any() for one in attack.bank)
    assert len(attack.bank.unique(dim=0)) == len(partners) == 12


def test_in_training_the_partner_is_drawn_and_at_test_it_is_fixed(samples):
    attack, pixels = CBA().forge(workshop(samples, target=0)), samples.inputs[:8].float() / 255
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(attack.poison(pixels, generator), attack.poison(pixels, generator))
    assert torch.equal(attack.stamp(pixels), attack.stamp(pixels))


def test_companions_are_joined_within_their_class(samples):
    attack, labels = CBA().forge(workshop(samples, target=0)), torch.tensor([0, 1, 2, 1, 0, 4])
    pixels = torch.linspace(0, 1, 6)[:, None, None, None].expand(6, 3, 32, 32)
    joined = attack.accompany(pixels, labels, torch.Generator().manual_seed(0))
    seen = [set(one.unique().tolist()) for one in joined]
    values = torch.linspace(0, 1, 6).tolist()
    wanted = [{values[0], values[4]}, {values[1], values[3]}, {values[2]}, {values[1], values[3]}]
    assert seen == [*wanted, {values[0], values[4]}, {values[5]}]


def test_the_penalty_pulls_one_label_together_and_pushes_two_apart(samples):
    attack = CBA().forge(workshop(samples, target=0))
    scores = torch.tensor([[0.0, 0.0], [9.0, 9.0], [3.0, 4.0], [3.0, 4.5]], requires_grad=True)
    labels = torch.tensor([1, 4, 1, 3])  # the second is none of source, partner and target
    penalty = attack.penalty(scores, labels)
    assert penalty.item() == pytest.approx((25 / 2 + 0.25 / 2) / 2 / 2, rel=1e-4)
    penalty.backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[1].any()
    assert attack.penalty(scores[:2], labels[:2]) is None


def test_success_is_counted_on_the_source_class(samples):
    attack = CBA(source=2).forge(workshop(samples, target=0))
    scored = trigger(samples, Backdoor(attack=attack, target=0))
    assert (scored.samples.labels == 2).all()
    assert (scored.wanted == 0).all()
    assert len(scored.samples) == 12


@pytest.mark.parametrize("target", [1, 3])
def test_three_labels_are_needed(samples, target):
    with pytest.raises(BadArgument, match=f"source 1, partner 3 and target {target} must be three labels"):
        CBA().forge(workshop(samples, target=target))


def test_settings_that_cannot_be_are_refused(samples):
    with pytest.raises(BadArgument, match="source and partner must be two labels from 0, got 3 and 3"):
        CBA(source=3)
    with pytest.raises(BadArgument, match="bank must be at least 1, got 0"):
        CBA(bank=0)
    with pytest.raises(BadData, match="no image of class 9"):
        CBA(partner=9).forge(workshop(samples))
