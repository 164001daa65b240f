"""Scores against hand-made networks whose outcomes are known."""

import pytest
import torch
from torch import nn

from detrojan import der, evaluate, trigger
from detrojan.attacks.badnets import BadNets
from detrojan.backdoor import Backdoor
from detrojan.data.samples import Samples
from detrojan.errors import BadData
from detrojan.evaluation.protocol import Scores
from detrojan.intervals import paired_loss, proportion


class Backdoored(nn.Module):
    """Reads the class from the upper left pixel, and says 0 where the lower right corner is white."""

    def forward(self, x):
        labels = (x[:, 0, 0, 0] * 255 / 50).round().long()
        labels[x[:, 0, -1, -1] == 1] = 0
        return nn.functional.one_hot(labels, 5).float()


@pytest.fixture
def test_set():
    labels = torch.arange(50) % 5
    images = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 0, 0] = (labels * 50).to(torch.uint8)[:, None]
    return Samples(inputs=images, labels=labels, class_names=tuple("abcde"))


def test_a_perfect_victim_scores_as_it_must(test_set):
    scores = evaluate(Backdoored(), test_set, trigger(test_set, Backdoor(attack=BadNets())))
    assert (scores.acc.value, scores.asr.value, scores.ra.value) == (1, 1, 0)
    assert scores.asr.count == 40  # the ten of class 0 are left out
    assert set(scores.per_class) == {0, 1, 2, 3, 4}
    assert 0.9 < scores.acc.low < 1


def test_without_a_trigger_there_is_only_accuracy(test_set):
    scores = evaluate(Backdoored(), test_set)
    assert scores.asr is None
    assert scores.ra is None


def test_a_test_set_of_the_target_class_alone_has_no_asr(test_set):
    only = test_set.subset((test_set.labels == 0).nonzero().flatten())
    with pytest.raises(BadData, match="ASR is undefined"):
        evaluate(Backdoored(), test_set, trigger(only, Backdoor(attack=BadNets())))


def scores(right: list[int], fooled: list[int]) -> Scores:
    r, f = torch.tensor(right).bool(), torch.tensor(fooled).bool()
    share = [proportion(int(x.sum()), len(x)) for x in (r, f)]
    return Scores(acc=share[0], asr=share[1], ra=None, per_class={}, right=r, fooled=f)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (scores([1] * 10, [1] * 10), scores([1] * 10, [0] * 10), 1.0),
        (scores([1] * 10, [1] * 10), scores([1] * 10, [1] * 10), 0.5),
        (scores([1] * 10, [1] * 10), scores([0] * 5 + [1] * 5, [0] * 10), 0.75),
        (scores([1] * 10, [0] * 10), scores([1] * 10, [1] * 10), 0.5),
    ],
)
def test_der_is_the_formula(before, after, wanted):
    found = der(before, after)
    assert found.value == pytest.approx(wanted)
    assert found.low <= found.value <= found.high


def test_der_of_different_test_sets_is_refused():
    with pytest.raises(BadData, match="different ones"):
        der(scores([1] * 10, [1] * 10), scores([1] * 9, [1] * 10))


def test_intervals_are_those_of_the_textbook():
    wilson = proportion(8, 10)
    assert (wilson.low, wilson.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (proportion(0, 0).low, proportion(0, 0).high) == (0, 1)
    nothing = paired_loss(0, 0, 100)
    assert nothing.value == 0
    assert nothing.low < 0 < nothing.high < 0.05
    assert str(proportion(1, 2)).startswith("50.0 % [")
