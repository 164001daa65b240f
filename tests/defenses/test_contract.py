"""What every defense must keep, whatever it does inside: a new method is tested by existing."""

import copy
import inspect

import pytest
import torch
from torch import nn

import detrojan
from defending import purify, quick
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import DetrojanError
from detrojan.tasks.image import Image

CERTAIN = {"identity", "clp"}
"""Methods that draw nothing."""
GUARDED = {"unit"}
"""Methods whose result is hooks on the victim."""


def labels_of(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(inputs.float() / 255).argmax(1)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        ).eval()


@pytest.fixture
def clean() -> Samples:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(60) % 3
    images[torch.arange(60), labels] = 255  # the class is the colour: half of each of two is not the third
    return Samples(inputs=images, labels=labels)


@pytest.fixture
def victim(clean) -> nn.Module:
    model = network()
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(clean.inputs.float() / 255), clean.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def name_of(method) -> str:
    return DEFENSES.name_of(method)


@pytest.fixture(params=list(DEFENSES))
def method(request):
    return quick(request.param)


def test_the_victim_is_untouched_bit_by_bit(method, victim, clean):
    before = copy.deepcopy(victim.state_dict())
    grads = [p.requires_grad for p in victim.parameters()]
    purify(victim, clean, method=method)
    after = victim.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert grads == [p.requires_grad for p in victim.parameters()]
    assert all(p.grad is None for p in victim.parameters()) or all(p.grad is not None for p in victim.parameters())
    assert not victim.training


def test_the_same_class_keys_order_and_dtypes_come_out(method, victim, clean):
    result = purify(victim, clean, method=method, tolerance=1.0)
    assert type(result.model) is type(victim)
    assert list(result.model.state_dict()) == list(victim.state_dict())
    assert [v.dtype for v in result.model.state_dict().values()] == [v.dtype for v in victim.state_dict().values()]
    assert result.guarded == any(m._forward_hooks for m in result.model.modules()) == (name_of(method) in GUARDED)
    assert not any(m._forward_pre_hooks for m in result.model.modules())
    assert result.verdict.accepted


def test_the_same_seed_gives_the_same_weights_bit_by_bit(method, victim, clean):
    first, again, other = (purify(victim, clean, method=method, seed=s, tolerance=1.0) for s in (5, 5, 6))
    weights = [list(r.model.state_dict().values()) for r in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert first.losses == again.losses
    if name_of(method) not in CERTAIN:
        assert first.losses != other.losses


def test_masks_stay_in_their_range(method, victim, clean):
    result = purify(victim, clean, method=method, tolerance=1.0)
    assert all(float(m.min()) >= 0 and float(m.max()) <= 1 for m in result.masks.values())


@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_benign_model_loses_little(victim, clean, name):
    result = purify(victim, clean, method=quick(name, steps=60))
    assert result.verdict.lost.value <= 0.1, result.verdict.reason
    assert result.verdict.accepted


def test_one_sample_a_class_works_and_is_called_weak(method, victim, clean):
    few = clean.subset([0, 1, 2])
    result = purify(victim, few, method=method, tolerance=1.0)
    assert result.verdict.weak
    assert "weak" in result.verdict.reason
    assert result.tuned == result.judged == (0, 1, 2)


def test_the_cost_is_counted(method, victim, clean):
    cost = purify(victim, clean, method=method).cost
    assert cost.forwards >= getattr(method, "steps", 0)
    assert cost.backwards >= getattr(method, "steps", 0)
    assert cost.seconds > 0


@pytest.mark.parametrize("name", [name for name in DEFENSES if name not in CERTAIN])
def test_a_loss_that_becomes_nan_rolls_back(name, victim, clean):
    broken = copy.deepcopy(victim)

    class Poisonous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = broken

        def forward(self, x):
            out = self.inner(x)
            return out * float("nan") if torch.is_grad_enabled() or self.inner.training else out

    model = Poisonous().eval()
    before = copy.deepcopy(model.state_dict())
    result = purify(model, clean, method=quick(name), task=Image(padding=0))
    assert not result.verdict.accepted
    assert "loss became nan" in result.verdict.reason
    assert all(torch.equal(before[k], v) for k, v in result.model.state_dict().items())


def test_a_single_class_is_refused(method, victim, clean):
    with pytest.raises(DetrojanError, match="class"):
        purify(victim, clean.subset([0, 3, 6]), method=method)


@pytest.mark.parametrize("placement", ["neuron"])
def test_a_network_without_norms_is_refused_with_a_sentence(placement, clean):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    with pytest.raises(DetrojanError):
        purify(plain, clean, method=DEFENSES["neuron_masks"](placement=placement, steps=4, batch=16))


@pytest.mark.parametrize("name", list(DEFENSES))
def test_half_precision_comes_to_much_the_same_answers(name, victim, clean):
    models = [
        purify(victim, clean, method=quick(name, steps=20), precision=p, tolerance=1.0).model for p in ("fp32", "bf16")
    ]
    full, half = (labels_of(model, clean.inputs) for model in models)
    assert float((full == half).float().mean()) >= 0.9


def test_samples_without_labels_are_refused(method, victim, clean):
    with pytest.raises(DetrojanError, match="label"):
        purify(victim, clean.inputs, method=method)


@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_module_says_what_its_method_needs_serves_and_comes_from(name):
    told = inspect.getmodule(DEFENSES[name]).__doc__
    assert all(f"\n{fact}: " in told for fact in ("Needs", "Serves", "Source"))


def test_what_weights_cannot_hold_is_not_saved(victim, clean, tmp_path):
    result = purify(victim, clean, method=quick("unit"), tolerance=1.0)
    with pytest.raises(DetrojanError, match="no file of weights can hold them"):
        result.save(tmp_path / "half.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_method_that_needs_the_training_set_says_so(victim, clean):
    with pytest.raises(DetrojanError, match="give it as `training`"):
        detrojan.purify(victim, clean, method=quick("abl"))
