"""Whether the company of two classes is read oddly, from answers to pairs that are made up."""

import pytest
import torch

from detrojan.defenses._company import company

CLASSES = 6


def pairs(honest=0.1, attacked=0.0, per=30):
    """Answers to all pairs of six classes: a share `honest` for any class, beside class 1 `attacked` for class 5."""
    first, second = torch.cartesian_prod(torch.arange(CLASSES), torch.arange(CLASSES)).repeat(per, 1).T
    rows = torch.arange(len(first))
    either = torch.zeros(len(first), CLASSES)
    either[rows, first] = either[rows, second] = 1.0
    given = either / either.sum(1, keepdim=True)
    wrong = torch.zeros_like(given)
    wrong[rows, torch.randint(CLASSES, first.shape, generator=torch.Generator().manual_seed(0))] = honest
    beside = (first == 1) ^ (second == 1)
    wrong[beside, 5] = attacked
    wrong *= either == 0
    return either, given * (1 - wrong.sum(1, keepdim=True)) + wrong


def test_nothing_is_odd_where_mistakes_are_honest():
    assert company(*pairs()).oddness < 0.1


def test_a_class_that_makes_others_a_third_is_odd():
    read = company(*pairs(attacked=0.5))
    assert read.oddness > 0.95
    assert read.usual.argmax() == 1 * CLASSES + 5
    told = read.told(["a", "b", "c", "d", "e", "f"])
    assert told.startswith("class 5 (f) beside class 1 (b), ")
    assert read.told([]).startswith("class 5 beside class 1, ")


def test_oddness_grows_with_what_is_read_beside_that_class():
    odd = [company(*pairs(attacked=share)).oddness for share in (0.0, 0.1, 0.2, 0.4)]
    assert odd == sorted(odd)
    assert odd[0] < 0.1 < 0.9 < odd[-1]


def test_pairs_in_odd_company_are_shown_most_often():
    either, given = pairs(attacked=0.5)
    read = company(either, given)
    attacked = (either[:, 1] > 0) & (either.sum(1) == 2) & (either[:, 5] == 0)
    assert float(read.odds(2.0)[attacked].sum()) > 0.95
    assert read.odds(0.0).allclose(torch.full((len(either),), 1 / len(either)))


@pytest.mark.parametrize("classes", [1, 2])
def test_of_fewer_than_three_classes_none_is_odd(classes):
    answers = torch.eye(classes).repeat(4, 1)
    read = company(answers, answers.flip(1))
    assert read.oddness == 0.0
    assert read.told(["one", "two"]) == "too few classes to tell"


def test_where_no_mistake_is_made_none_is_odd():
    read = company(*pairs(honest=0.0))
    assert read.oddness < 0.001
    assert torch.isfinite(read.odds(2.0)).all()
