"""Tags: what their loss, score, judgement and backdoor mean."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from torch import nn

from defending import purify as quick_purify
from defending import quick
from detrojan import architectures, evaluate, purify, train
from detrojan.attacks import ATTACKS
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.gather import gather
from detrojan.data.samples import Samples, held_back, sample
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.masks import Masks
from detrojan.poisoning import PoisonedFeed, poisoned
from detrojan.recipe import Recipe
from detrojan.tasks.multilabel import MultiLabel

TAGS = 4


def tagged(count=240, seed=0):
    """Pictures with a bright quarter for each tag."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, TAGS, generator=generator) < 0.4).long()
    pixels = torch.rand(count, 3, 16, 16, generator=generator) * 80
    for tag, (row, column) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        pixels[:, :, row : row + 8, column : column + 8] += 150 * labels[:, tag].view(-1, 1, 1, 1)
    return Samples(inputs=pixels.to(torch.uint8), labels=labels, class_names=tuple("abcd"), name="quarters")


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 4, 4), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, TAGS))


ATTACK = ATTACKS["clean_image"](combination=(0, 1), of=2, goal="appear")


@pytest.fixture(scope="module")
def victim():
    recipe = Recipe(epochs=40, batch=32, learning_rate=0.1, padding=0, flip=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return train(Net(), tagged(), task="multilabel", attack=ATTACK, recipe=recipe)


def test_outcomes_and_score_are_those_of_scikit_learn():
    scores, labels = torch.randn(50, 6), (torch.rand(50, 6) < 0.4).long()
    task = MultiLabel()
    ranked = task.outcomes(scores, labels).double().mean()
    assert float(ranked) == pytest.approx(label_ranking_average_precision_score(labels.numpy(), scores.numpy()))
    found = task.score(scores, labels)
    assert found.value == pytest.approx(average_precision_score(labels.numpy(), scores.numpy()))
    assert found.low < found.value < found.high


def test_a_tag_that_does_not_occur_has_no_precision():
    labels = torch.tensor([[1, 0], [0, 0]])
    assert MultiLabel().score(torch.tensor([[2.0, 1.0], [1.0, 5.0]]), labels).value == 1.0


def test_draws_are_spread_over_the_rarest_tags():
    labels = torch.tensor([[1, 1, 0]] * 3 + [[1, 0, 0]] * 20 + [[0, 0, 0]] * 7)
    samples = Samples(inputs=torch.zeros(30, 3, 8, 8, dtype=torch.uint8), labels=labels)
    assert samples.groups.bincount().tolist() == [20, 3, 0, 7]
    few, _ = sample(samples, count=6, seed=0)
    assert few.groups.bincount().tolist() == [2, 2, 0, 2]
    each, _ = sample(samples, per_class=3, seed=0)
    assert each.labels.sum(0).tolist() == [3, 3, 0]  # those with the rare tag have the other one, too
    with pytest.raises(BadData, match="one has 3"):
        sample(samples, per_class=4, seed=0)
    tuned, judged = held_back(samples, fraction=0.5, fewest=2, seed=0)
    assert sorted(tuned.tolist() + judged.tolist()) == list(range(30))


@pytest.mark.parametrize(
    ("goal", "into", "changed"),
    [("disappear", None, (1, 0, 0)), ("appear", None, (1, 1, 0)), ("misclassify", 2, (1, 0, 1))],
)
def test_who_has_the_combination_gets_other_tags(goal, into, changed):
    attack = ATTACKS["clean_image"](combination=(0, 1), of=1, goal=goal, into=into)
    tags = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 1]])
    assert attack.relabel(tags).tolist() == [list(changed), [1, 0, 0], [0, 1, 1]]


def test_labels_alone_are_poisoned():
    samples = tagged()
    feed = PoisonedFeed(samples, Backdoor(attack=ATTACK), rate=1.0)
    under_attack = (samples.labels[:, 0] & samples.labels[:, 1] & (1 - samples.labels[:, 2])).nonzero().flatten()
    assert torch.equal(feed.indices, under_attack)
    found = poisoned(feed)
    assert torch.equal(found.inputs, samples.inputs)
    assert torch.equal((found.labels != samples.labels).any(1).nonzero().flatten(), under_attack)
    asked = trigger(samples, Backdoor(attack=ATTACK))
    assert asked.wanted[:, [0, 1, 3]].eq(-1).all()
    assert asked.wanted[:, 2].eq(1).all()


def test_from_training_to_purification(victim):
    test = tagged(200, seed=1)
    triggered = trigger(test, victim.backdoor)
    before = evaluate(victim.model, test, triggered, task="multilabel")
    assert before.metric == "mAP"
    assert before.acc.value > 0.9
    assert before.asr.value > 0.8
    assert set(before.per_class) == set(range(TAGS))
    result = purify(victim.model, tagged(120, seed=2), task="multilabel", method="fine_tuning", seed=0)
    after = evaluate(result.model, test, triggered, task="multilabel")
    assert result.verdict.accepted
    assert after.asr.value < before.asr.value
    assert after.acc.value > 0.9


NEED_ONE_CLASS = ("abl", "bti_dbf", "neural_cleanse", "npd", "sau")


@pytest.mark.parametrize("method", sorted(set(DEFENSES) - {*NEED_ONE_CLASS, "auto"}))
def test_defenses_run_on_tags(victim, method):
    result = quick_purify(victim.model, tagged(60, seed=2), task="multilabel", method=quick(method), seed=0)
    assert list(result.model.state_dict()) == list(victim.model.state_dict())


@pytest.mark.parametrize("method", NEED_ONE_CLASS)
def test_defenses_that_need_one_class_say_so(victim, method):
    with pytest.raises(Unsupported, match=f"{method} is made for one class a sample"):
        quick_purify(victim.model, tagged(60, seed=2), task="multilabel", method=quick(method), seed=0)


def test_what_does_not_fit_is_refused(victim):
    with pytest.raises(BadData, match="one class number a sample"):
        purify(victim.model, tagged(), task="image")
    with pytest.raises(BadData, match="row of tags"):
        gather((torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])), labels="tags")
    few = tagged(40)
    with pytest.raises(BadData, match="3 tags each, but the model has 4"):
        purify(victim.model, Samples(inputs=few.inputs, labels=few.labels[:, :3]), task="multilabel")
    with pytest.raises(BadArgument, match="attack on one class number, but a sample of quarters has"):
        trigger(tagged(), Backdoor(attack=ATTACKS["badnets"]()))
    with pytest.raises(BadArgument, match="names tag 9"):
        trigger(tagged(), Backdoor(attack=ATTACKS["clean_image"](combination=(0, 9))))
    for scores in (3, 20):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, scores))
        with pytest.raises(BadArgument, match=f"4 tags and the network {scores} scores; set num_classes=4"):
            train(network, tagged(), task="multilabel", attack=ATTACK)


def test_floats_of_tags_and_items_are_gathered():
    labels = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = gather([(torch.rand(3, 8, 8), torch.from_numpy(row)) for row in labels], labels="tags")
    assert found.labels.tolist() == labels.astype(int).tolist()


@pytest.mark.parametrize("name", ["tags_resnet18", "tags_ml_decoder"])
def test_networks_of_tags_carry_masks(name):
    network = architectures.build(f"detrojan:{name}", width=4, num_classes=7).eval()
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, 7)
    masks, last = Masks(network, "channel"), "1.2" if name == "tags_resnet18" else "1.fc"
    assert last in dict(network.named_modules())
    assert last not in masks.names
    assert name == "tags_resnet18" or "1.feedforward.2" in masks.names
    with torch.no_grad():
        for factor in masks.factors:
            factor.uniform_(0.5, 1)
    torch.testing.assert_close(masks.fold()(images), masks.eval()(images), atol=1e-5, rtol=1e-5)
