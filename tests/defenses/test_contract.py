"""What every defense must keep, whatever it does inside: a new method is tested by existing."""

import copy

import pytest
import torch
from torch import nn

from detrojan import purify
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import DetrojanError
from detrojan.tasks.image import Image

QUICK = {"steps": 4, "batch": 16}


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
    images[:, 0] = (labels * 100).to(torch.uint8)[:, None, None]  # the class is the amount of red
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


@pytest.fixture(params=list(DEFENSES))
def method(request):
    return DEFENSES[request.param](**QUICK)


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
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in result.model.modules())
    assert result.verdict.accepted


def test_the_same_seed_gives_the_same_weights_bit_by_bit(method, victim, clean):
    first, again, other = (purify(victim, clean, method=method, seed=s, tolerance=1.0) for s in (5, 5, 6))
    weights = [list(r.model.state_dict().values()) for r in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert first.losses == again.losses
    assert not all(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_masks_stay_in_their_range(method, victim, clean):
    result = purify(victim, clean, method=method, tolerance=1.0)
    assert result.masks or method.__class__.__name__ == "NFT"
    assert all(float(m.min()) >= 0 and float(m.max()) <= 1 for m in result.masks.values())


def test_a_benign_model_loses_little(victim, clean, method):
    result = purify(victim, clean, method=method)
    assert result.verdict.lost.value <= 0.1
    assert result.verdict.accepted


def test_one_sample_a_class_works_and_is_called_weak(method, victim, clean):
    few = clean.subset([0, 1, 2])
    result = purify(victim, few, method=method, tolerance=1.0)
    assert result.verdict.weak
    assert "weak" in result.verdict.reason
    assert result.tuned == result.judged == (0, 1, 2)


def test_the_cost_is_counted(method, victim, clean):
    cost = purify(victim, clean, method=method).cost
    assert cost.forwards >= QUICK["steps"]
    assert cost.seconds > 0


def test_a_loss_that_becomes_nan_rolls_back(method, victim, clean):
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
    result = purify(model, clean, method=method, task=Image(padding=0))
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
        purify(plain, clean, method=DEFENSES["neuron_masks"](placement=placement, **QUICK))
