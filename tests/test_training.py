"""The training loop learns, repeats itself bit by bit, and refuses what cannot be trained."""

import pytest
import torch
from torch import nn

from detrojan import Preprocessing, Recipe, Samples, evaluate, train, trigger
from detrojan import victim as victim_room
from detrojan.attacks.badnets import BadNets
from detrojan.attacks.clb import CLB
from detrojan.data.load import load
from detrojan.data.samples import split
from detrojan.errors import BadArgument, BadData, BadFile, Unsupported
from detrojan.execution import Execution
from detrojan.tasks.image import Image
from detrojan.training import fit
from detrojan.victim import backdoor_of


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10)
    )


@pytest.fixture(scope="module")
def digits():
    return split(load("digits", split="train"), fraction=0.3, seed=0)


RECIPE = Recipe(epochs=4, batch=64, learning_rate=0.05, padding=0, flip=False)


def test_a_victim_is_accurate_and_backdoored_and_its_record_tells_its_backdoor(digits, tmp_path):
    kept, test = digits
    victim = train(net(), kept, attack=BadNets(size=8), poison_rate=0.15, target=3, recipe=RECIPE)
    scores = evaluate(victim.model, test, trigger(test, victim.backdoor))
    assert scores.acc.value > 0.9
    assert scores.asr.value > 0.9
    record = victim.save(tmp_path / "victim.safetensors")
    assert backdoor_of(record) == victim.backdoor
    assert len(victim.record["poisoned_indices"]) == round(0.15 * int((kept.labels != 3).sum()))
    with pytest.raises(BadArgument, match="--force"):
        victim.save(tmp_path / "victim.safetensors")


def test_the_same_seed_trains_the_same_network(digits):
    kept, _ = digits
    small = kept.subset(range(128))
    twins = [
        train("detrojan:preact_resnet18", small, recipe=Recipe(epochs=1, batch=64), seed=4, width=2, in_channels=1)
        for _ in range(2)
    ]
    first, again = (list(t.model.state_dict().values()) for t in twins)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_no_attack_means_no_poison(digits):
    kept, _ = digits
    victim = train(net(), kept.subset(range(64)), attack=None, recipe=Recipe(epochs=1, batch=32))
    assert victim.backdoor is None
    assert victim.record["poisoned_indices"] == []


@pytest.mark.parametrize(
    "setting",
    [{"epochs": 0}, {"batch": 0}, {"padding": -1}, {"learning_rate": -1.0}, {"small": 1.5}, {"momentum": -0.1}],
)
def test_a_recipe_that_cannot_be_followed_is_refused(setting):
    ((name, value),) = setting.items()
    with pytest.raises(BadArgument, match=f"{name} must .*, got {value}"):
        Recipe(**setting)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 16, 3), torch.float32), ((8, 3, 4, 8, 8), torch.uint8), ((8, 6), torch.int64)]
)
def test_what_is_no_image_does_not_shrink(shape, dtype):
    model = net()
    samples = Samples(inputs=torch.zeros(shape, dtype=dtype), labels=torch.arange(8), name="theirs")
    with pytest.raises(BadArgument, match="set the recipe's small to 0 for theirs"):
        fit(
            model,
            samples,
            preprocessing=Preprocessing(),
            recipe=Recipe(small=0.5),
            execution=Execution.choose(model, "cpu"),
        )


def untrained(monkeypatch):
    def never(*args, **options):
        raise AssertionError("training began")

    monkeypatch.setattr(victim_room, "fit", never)


def test_a_network_with_too_few_scores_is_refused_before_training(digits, monkeypatch):
    untrained(monkeypatch)
    with pytest.raises(BadArgument, match="10 classes and the network 7 scores; set num_classes=10"):
        train("detrojan:preact_resnet18", digits[0], width=2, in_channels=1, num_classes=7)


def test_a_network_that_cannot_carry_a_planted_backdoor_is_refused_before_training(digits, monkeypatch):
    untrained(monkeypatch)
    with pytest.raises(Unsupported, match="no way that one channel could take"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits[0], attack="dfba")


def test_divergence_is_told_with_what_to_do(digits):
    kept, _ = digits
    model = net()
    with pytest.raises(BadArgument, match="lower learning rate"):
        fit(
            model,
            kept,
            preprocessing=Preprocessing(),
            recipe=Recipe(epochs=2, learning_rate=1e30, batch=64),
            execution=Execution.choose(model, "cpu"),
        )


def test_one_sample_cannot_be_trained_on():
    model = net()
    one = Samples(inputs=torch.zeros(1, 1, 8, 8, dtype=torch.uint8), labels=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(BadData, match="at least two"):
        fit(model, one, preprocessing=Preprocessing(), recipe=Recipe(), execution=Execution.choose(model, "cpu"))


def test_an_interrupted_training_goes_on_to_the_same_network(digits, tmp_path):
    kept, _ = digits
    small, state = kept.subset(range(128)), tmp_path / "state"

    class Killed(Exception):
        pass

    def kill(step):
        if step.index == 7:  # in the middle of the third epoch
            raise Killed

    def run(on_step=None, state=None):
        return train(
            "detrojan:preact_resnet18",
            small,
            attack=BadNets(size=8),
            recipe=Recipe(epochs=4, batch=40),
            width=2,
            in_channels=1,
            on_step=on_step,
            state=state,
        )

    steps = []
    with pytest.raises(Killed):
        run(on_step=kill, state=state)
    assert state.exists()
    resumed = run(on_step=lambda step: steps.append(step.index), state=state)
    undisturbed = run()
    assert steps[0] == 7  # two epochs of three steps were kept
    assert state.exists()  # until the victim is saved, which is the caller's part
    assert resumed.losses == undisturbed.losses
    weights = zip(resumed.model.state_dict().values(), undisturbed.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_the_training_of_a_surrogate_goes_on_too(digits, tmp_path):
    kept, _ = digits
    attack, state = CLB(surrogate_images=256, pgd_steps=1), tmp_path / "state"
    stages = []

    def run(stop):
        def on_step(step):
            stages.append((step.stage, step.index))
            if (step.stage, step.index) == stop:
                raise KeyboardInterrupt

        return train(
            "detrojan:preact_resnet18",
            kept,
            attack=attack,
            recipe=Recipe(epochs=1, batch=500),
            width=2,
            in_channels=1,
            on_step=on_step,
            state=state,
        )

    with pytest.raises(KeyboardInterrupt):
        run(("training the attacker's surrogate", 5))
    assert state.with_name("state.surrogate").exists()
    stages.clear()
    run(None)
    assert stages[0] == ("training the attacker's surrogate", 5)  # two epochs of two steps were kept
    assert not state.with_name("state.surrogate").exists()


def test_a_state_is_that_of_the_start_and_the_settings(digits, tmp_path):
    small, started = digits[0].subset(range(64)), tmp_path / "state"

    def begin(model, task=None):
        execution, recipe = Execution.choose(model, "cpu"), Recipe(epochs=1, batch=32)
        fit(model, small, preprocessing=Preprocessing(), execution=execution, recipe=recipe, state=started, task=task)

    def dropping(share):
        return nn.Sequential(net(), nn.Dropout(share))

    begin(dropping(0.1))
    begin(dropping(0.1))  # goes on
    other = dropping(0.1)
    other[0][4].bias.data[0] += 1
    for model, task in ((other, None), (dropping(0.2), None), (dropping(0.1), Image(flip=False))):
        with pytest.raises(BadArgument, match="the state of another training"):
            begin(model, task)


def test_a_state_of_another_training_or_a_damaged_one_is_refused(digits, tmp_path):
    kept, _ = digits
    model, state = net(), tmp_path / "state"
    options = {"preprocessing": Preprocessing(), "execution": Execution.choose(model, "cpu"), "state": state}
    fit(model, kept.subset(range(64)), recipe=Recipe(epochs=1, batch=32), **options)
    with pytest.raises(BadArgument, match="the state of another training"):
        fit(model, kept.subset(range(64)), recipe=Recipe(epochs=2, batch=32), **options)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(BadFile, match="remove it to start anew"):
        fit(model, kept.subset(range(64)), recipe=Recipe(epochs=1, batch=32), **options)
