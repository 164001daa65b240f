"""Taking a part of labelled samples: k per class, a count spread over classes, a split."""

import pytest
import torch

from detrojan.data.samples import Samples, dealt, held_back, sample, split, stratified
from detrojan.errors import BadArgument, BadData


def made(counts: list[int], class_names: tuple[str, ...] = ()) -> Samples:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    return Samples(inputs=order[:, None].float(), labels=labels[order], class_names=class_names, name="made")


def counts_of(samples: Samples, classes: int) -> list[int]:
    return samples.labels.bincount(minlength=classes).tolist()


@pytest.mark.parametrize(("names", "expected"), [((), 3), (("a", "b", "c", "d"), 4)])
def test_num_classes_counts_the_names_or_the_labels(names, expected):
    assert made([2, 2, 2], names).num_classes == expected


def test_subset_keeps_order_names_and_origin():
    samples = made([3, 3], ("a", "b"))
    part = samples.subset([4, 0])
    assert part.inputs.flatten().tolist() == [samples.inputs[4].item(), samples.inputs[0].item()]
    assert part.labels.tolist() == samples.labels[[4, 0]].tolist()
    assert (part.class_names, part.name, len(part)) == (("a", "b"), "made", 2)


@pytest.mark.parametrize(
    ("inputs", "labels", "sentence"),
    [
        (3, torch.zeros(2, dtype=torch.int64), "equally many, found 3 inputs and 2 labels"),
        (2, torch.zeros(2), r"int64 of shape \(N,\), \(N, K\) or \(N, M, 5\), found float32 of shape \(2,\)"),
        (2, torch.zeros(2, 1, 3, dtype=torch.int64), r"found int64 of shape \(2, 1, 3\)"),
    ],
)
def test_samples_refuse_what_does_not_fit(inputs, labels, sentence):
    with pytest.raises(BadData, match=sentence):
        Samples(inputs=torch.zeros(inputs, 1), labels=labels)


def test_stratified_draws_k_of_each_class_sorted():
    samples = made([5, 9, 7])
    indices = stratified(samples.labels, per_class=4, generator=torch.Generator().manual_seed(0))
    assert indices.tolist() == sorted(set(indices.tolist()))
    assert samples.labels[indices].bincount().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("per_class", "error", "sentence"),
    [
        (6, BadData, r"6 samples per class .* class 0 \(cat\) has 5; ask for at most 5"),
        (8, BadData, r"class 0 \(cat\) has 5, class 2 has 7"),
        (0, BadArgument, "per_class must be at least 1, got 0"),
    ],
)
def test_stratified_names_the_poor_classes(per_class, error, sentence):
    with pytest.raises(error, match=sentence):
        stratified(made([5, 9, 7]).labels, per_class=per_class, generator=torch.Generator(), class_names=("cat", "dog"))


@pytest.mark.parametrize(
    ("counts", "count", "expected"),
    [([9, 9, 9], 9, [3, 3, 3]), ([1, 9, 9], 9, [1, 4, 4]), ([2, 0, 9], 9, [2, 0, 7]), ([4, 4], 8, [4, 4])],
)
def test_count_is_spread_as_evenly_as_classes_allow(counts, count, expected):
    part, indices = sample(made(counts), count=count, seed=0)
    assert counts_of(part, len(counts)) == expected
    assert len(indices) == count


@pytest.mark.parametrize("seed", range(3))
def test_a_count_that_does_not_divide_differs_by_one_at_most(seed):
    part, _ = sample(made([9] * 4), count=10, seed=seed)
    assert sorted(counts_of(part, 4)) == [2, 2, 3, 3]


def test_fewer_samples_than_classes():
    part, _ = sample(made([9] * 4), count=2, seed=0)
    assert sorted(counts_of(part, 4)) == [0, 0, 1, 1]


def test_sample_repeats_with_its_seed_and_records_positions():
    samples = made([20, 20])
    (first, at), (again, again_at), (_, other_at) = (sample(samples, per_class=3, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.inputs, samples.inputs[at])
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(at, again_at)
    assert not torch.equal(at, other_at)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "either count or per_class"),
        ({"count": 3, "per_class": 1}, "either count or per_class"),
        ({"count": 0}, r"between 1 and 6 \(all of made\), got 0"),
        ({"count": 7}, "got 7"),
    ],
)
def test_sample_refuses_contradictions(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        sample(made([3, 3]), seed=0, **settings)


@pytest.mark.parametrize(
    ("fraction", "aside"), [(0.0, [0, 0, 0]), (0.2, [0, 1, 2]), (0.5, [0, 2, 5]), (0.99, [0, 2, 9])]
)
def test_split_is_stratified_and_leaves_one_of_each_class(fraction, aside):
    samples = made([1, 3, 10])
    kept, held = split(samples, fraction=fraction, seed=0)
    assert counts_of(held, 3) == aside
    assert sorted(torch.cat([kept.inputs, held.inputs]).flatten().tolist()) == list(range(14))


@pytest.mark.parametrize(
    ("counts", "fraction", "aside"),
    [
        ([50] * 10, 0.2, 100),  # by class
        ([2] * 1000, 0.2, 400),  # 0.4 of a class rounds to none
        ([4] * 50, 0.1, 20),
        ([1] * 80 + [2] * 30, 0.2, 28),
        ([1] * 1000, 0.2, 0),  # each is needed to tune on
        ([1] * 900 + [2] * 19, 0.2, 0),
        ([9] * 10, 0.2, 0),  # too few
    ],
)
def test_a_share_is_held_back_and_each_class_keeps_one(counts, fraction, aside):
    samples = made(counts)
    work, judge = held_back(samples, fraction=fraction, fewest=20, seed=0)
    if aside:
        assert len(judge) == aside
        assert sorted(torch.cat([work, judge]).tolist()) == list(range(len(samples)))
    else:
        assert judge is work
    assert samples.labels[work].bincount(minlength=len(counts)).min() >= 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_split_refuses_fractions_out_of_range(fraction):
    with pytest.raises(BadArgument, match="at least 0 and below 1"):
        split(made([2, 2]), fraction=fraction, seed=0)


@pytest.mark.parametrize("count", [0, 1, 7, 10, 23])
def test_what_is_dealt_to_the_defender_is_never_left_to_the_attacker(count):
    labels = torch.tensor([2] * 12 + [0] * 3 + [1] * 8)
    samples = Samples(inputs=torch.arange(23), labels=labels)
    aside, rest = dealt(samples, count)
    assert len(aside) == count
    assert sorted([*aside.inputs.tolist(), *rest.inputs.tolist()]) == list(range(23))
    assert aside.inputs.tolist() == sorted(aside.inputs.tolist())
    fewer = dealt(samples, count // 2)[0]
    assert set(fewer.inputs.tolist()) <= set(aside.inputs.tolist())


def test_classes_take_turns_and_give_their_first_samples():
    samples = Samples(inputs=torch.arange(10), labels=torch.tensor([0] * 5 + [1] * 2 + [2] * 3))
    assert dealt(samples, 5)[0].inputs.tolist() == [0, 1, 5, 6, 7]
    assert dealt(samples, 8)[0].labels.bincount().tolist() == [3, 2, 3]
    with pytest.raises(BadArgument, match=r"count must be between 0 and 10 .* got 11"):
        dealt(samples, 11)
