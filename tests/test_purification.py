"""Holding back, judging and rolling back."""

import copy
import re
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from detrojan import purify
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData, BadWeights, UnknownName, Unsupported
from detrojan.purification import default_method
from detrojan.tasks import TASKS
from detrojan.tuning import Tuned


def identity_network(classes: int = 4) -> nn.Module:
    """A network whose score of class k is the mean of channel k."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), _eye(classes))


def _eye(classes: int) -> nn.Linear:
    layer = nn.Linear(classes, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(classes))
        layer.bias.zero_()
    return layer


def samples_of(count: int, classes: int = 4) -> Samples:
    labels = torch.arange(count) % classes
    inputs = nn.functional.one_hot(labels, classes).float()[:, :, None, None].expand(-1, -1, 4, 4).contiguous()
    return Samples(inputs=inputs, labels=labels)


@dataclass(frozen=True)
class Scale:
    """A defense that multiplies all weights."""

    factor: float

    def __call__(self, model, clean, context):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            for p in changed.parameters():
                p.mul_(self.factor)
        return Tuned(model=changed, masks={}, losses=(1.0, 0.5))


def test_a_fifth_is_held_back_by_class_and_the_method_never_sees_it():
    seen = []

    class Spy(Scale):
        def __call__(self, model, clean, context):
            seen.append(clean)
            return super().__call__(model, clean, context)

    samples = samples_of(200)
    result = purify(identity_network(), samples, method=Spy(1.0))
    assert len(result.judged) == 40
    assert not set(result.judged) & set(result.tuned)
    assert sorted(result.judged + result.tuned) == list(range(200))
    assert torch.equal(samples.labels[list(result.judged)].bincount(), torch.full((4,), 10))
    assert len(seen[0]) == 160
    assert not result.verdict.weak


def test_a_harmless_change_is_accepted_with_an_interval_that_admits_doubt():
    result = purify(identity_network(), samples_of(200), method=Scale(2.0))
    assert result.verdict.accepted
    assert result.verdict.lost.value == 0
    assert result.verdict.lost.low < 0 < result.verdict.lost.high < 0.15
    assert result.verdict.agreement.value == 1
    assert torch.equal(result.model[2].weight, 2 * torch.eye(4))


def test_what_loses_too_much_is_rolled_back():
    model = identity_network()
    result = purify(model, samples_of(200), method=Scale(-1.0))
    assert not result.verdict.accepted
    assert "Too much was lost" in result.verdict.reason
    assert result.verdict.lost.value == 1
    assert torch.equal(result.model[2].weight, model[2].weight)
    assert result.model is not model


def test_the_tolerance_decides():
    assert purify(identity_network(), samples_of(200), method=Scale(-1.0), tolerance=1.0).verdict.accepted


def test_scores_that_become_infinite_are_rolled_back():
    result = purify(identity_network(), samples_of(200), method=Scale(float("inf")), tolerance=1.0)
    assert not result.verdict.accepted
    assert "NaN or infinite" in result.verdict.reason


def test_few_samples_are_judged_weakly():
    result = purify(identity_network(), samples_of(40), method=Scale(1.0))
    assert result.verdict.weak
    assert result.tuned == result.judged == tuple(range(40))


def test_pairs_of_tensors_and_training_mode_are_taken_and_given_back():
    model = identity_network().train()
    samples = samples_of(200)
    result = purify(model, (samples.inputs, samples.labels), method=Scale(1.0))
    assert model.training
    assert result.model.training


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"held_out": 1.5}, BadArgument, "held_out must lie in"),
        ({"tolerance": -1}, BadArgument, "tolerance"),
        ({"method": "nftt"}, UnknownName, "did you mean 'nft'"),
        ({"task": "imgae"}, UnknownName, "did you mean 'image'"),
        ({"device": "cuda:99"}, BadArgument, "device 'cuda:99'"),
    ],
)
def test_bad_arguments_get_a_sentence(change, error, sentence):
    with pytest.raises(error, match=sentence):
        purify(identity_network(), samples_of(40), **{"method": Scale(1.0), **change})


def test_a_model_with_too_few_classes_is_refused():
    samples = samples_of(40)
    shifted = Samples(inputs=samples.inputs, labels=samples.labels + 2)
    with pytest.raises(BadData, match="label 5, but the model has 4 classes"):
        purify(identity_network(), shifted, method=Scale(1.0))


def test_a_model_with_nan_weights_is_refused():
    model = identity_network()
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    with pytest.raises(BadWeights, match="NaN"):
        purify(model, samples_of(40), method=Scale(1.0))


def test_samples_that_do_not_fit_the_network_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), identity_network())
    with pytest.raises(BadData, match=r"fails on clean samples of shape \(4, 4, 4\).*channels"):
        purify(model, samples_of(40), method=Scale(1.0))


NAMES = ("a", "b", "c", "d")
RENUMBERED = "the samples have 4 classes and the model 5 scores"
CHANCE = "check that labels are numbered and inputs preprocessed"


@pytest.mark.parametrize(
    ("count", "classes", "shift", "names", "told", "untold"),
    [
        (200, 4, 0, (), "", ""),
        (200, 4, 1, (), f"right on 0.0 % .* where chance gives 25.0 %; {CHANCE}", RENUMBERED),
        (200, 5, 1, NAMES, f"{CHANCE}.*; {RENUMBERED}", ""),
        (200, 5, 0, NAMES, "", ""),  # the class that is missing is the last one
        (8, 4, 1, (), CHANCE, ""),
        (2, 2, 0, (), "", ""),
    ],
)
def test_labels_that_are_not_the_networks_are_doubted(count, classes, shift, names, told, untold):
    found = samples_of(count, classes - bool(names))
    inputs = nn.functional.pad(found.inputs, (0, 0, 0, 0, 0, bool(names))).roll(shift, 1)
    given = Samples(inputs=inputs, labels=found.labels, class_names=names)
    verdict = purify(identity_network(classes), given, method=Scale(1.0)).verdict
    assert verdict.accepted
    assert bool(verdict.doubt) == bool(told)
    assert verdict.reason.endswith(f"This judgement is weak: {verdict.doubt}." if told else ".")
    assert re.search(told, verdict.doubt)
    assert not untold or untold not in verdict.doubt


def test_a_class_that_is_missed_in_the_middle_is_doubted_though_half_is_right():
    found = samples_of(200, 5)
    kept = found.subset((found.labels != 2).nonzero().flatten())
    renumbered = Samples(inputs=kept.inputs, labels=kept.labels - (kept.labels > 2).long(), class_names=NAMES)
    verdict = purify(identity_network(5), renumbered, method=Scale(1.0)).verdict
    assert verdict.before.value == 0.5
    assert RENUMBERED in verdict.doubt
    assert CHANCE not in verdict.doubt


def test_a_network_that_always_says_the_same_is_no_better_than_chance():
    blind = identity_network()
    nn.init.zeros_(blind[2].weight)
    assert "where chance gives 25.0 %" in purify(blind, samples_of(200), method=Scale(1.0)).verdict.reason


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_a_full_memory_is_not_blamed_on_the_samples(error):
    class Huge(nn.Module):
        def forward(self, inputs):
            raise error

    with pytest.raises(type(error), match=str(error)):
        purify(Huge(), samples_of(40), method=Scale(1.0))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
def test_a_network_of_another_precision_is_purified_in_its_own(kind, stored):
    samples, model = samples_of(40, 3), identity_network(3).to(kind)
    given = Samples(inputs=(255 * samples.inputs).to(stored), labels=samples.labels)
    result = purify(model, given, method=Scale(2.0), device="cpu")
    assert result.verdict.before.value == 1
    assert torch.equal(result.model[2].weight, 2 * torch.eye(3, dtype=kind))


def test_a_gain_is_called_a_gain():
    model = identity_network()
    with torch.no_grad():
        model[2].weight.neg_()
    result = purify(model, samples_of(200), method=Scale(-1.0))
    assert result.verdict.reason.startswith("Clean accuracy gained 100.0 %")


def test_a_model_that_is_no_classifier_is_refused():
    with pytest.raises(Unsupported, match=r"shape \(40, 4, 4, 4\)"):
        purify(nn.Identity(), samples_of(40), method=Scale(1.0))


def test_progress_is_told():
    from detrojan.defenses.nft import NFT

    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    steps = []
    purify(model.eval(), samples_of(40), method=NFT(steps=3, batch=4), on_step=steps.append)
    assert [(s.index, s.total) for s in steps] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_method_by_default(task):
    assert default_method(task) == default_method(TASKS.build(task))
    best = {"multilabel": "ft_sam", "video": "ft_sam", "detection": "awm"}
    assert default_method(task) == best.get(task, "consistency_distil")


def test_without_a_method_the_default_purifies(monkeypatch):
    ran = []
    monkeypatch.setattr("detrojan.purification.default_method", lambda task: ran.append(task) or Scale(1.0))
    assert purify(identity_network(), samples_of(40)).verdict.accepted
    assert len(ran) == 1
