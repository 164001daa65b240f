"""Activation checkpointing changes what is held in memory, and nothing of what is computed."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from defending import purify, quick
from detrojan.activation_checkpointing import forget_activations
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.functional import Replaced, slopes
from detrojan.models.preact_resnet import preact_resnet18
from networks import NETWORKS, build


def network() -> nn.Module:
    torch.manual_seed(0)
    return preact_resnet18(width=4, num_classes=3)


def gradients(model: nn.Module, images: Tensor) -> tuple[list[Tensor], int]:
    """Of the squared outputs, and the bytes that the forward keeps for them outside of what is checkpointed."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        value = model(images).square().sum()
    return list(torch.autograd.grad(value, list(model.parameters()))), sum(held.values())


@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_running_statistics_are_the_same_and_less_is_held(training):
    plain = network().train(training)
    forgetful = copy.deepcopy(plain)
    forget_activations(forgetful)
    forgetful = copy.deepcopy(forgetful)  # a copy forgets, too, and computes with its own weights
    images = torch.randn(8, 3, 32, 32)
    expected, held = gradients(plain, images)
    found, less = gradients(forgetful, images)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert less < 0.6 * held
    theirs = forgetful.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in plain.state_dict().items())


def test_dropout_draws_the_same_again():
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4))
    plain = nn.Sequential(block, nn.Flatten())
    forgetful = copy.deepcopy(plain)
    forget_activations(forgetful)
    inputs = torch.randn(6, 4)
    torch.manual_seed(3)
    expected, _ = gradients(plain, inputs)
    torch.manual_seed(3)
    found, _ = gradients(forgetful, inputs)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_other_tensors_in_place_of_the_weights_get_their_own_gradients():
    plain = network().eval()
    forgetful = copy.deepcopy(plain)
    forget_activations(forgetful)
    tensors = {name: (2 * p).detach().requires_grad_() for name, p in plain.named_parameters()}
    images = torch.randn(4, 3, 32, 32)
    wanted = torch.autograd.grad(functional_call(plain, tensors, (images,)).square().sum(), list(tensors.values()))
    found = torch.autograd.grad(Replaced(forgetful, tensors)(images).square().sum(), list(tensors.values()))
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_are_the_same_in_every_kind_of_network(name):
    case = build(name)
    forgetful = copy.deepcopy(case.network)
    forget_activations(forgetful)
    found = []
    for model in (case.network, forgetful):
        value = case.run(model)[0].float().square().sum()
        found.append(slopes(value, [p for p in model.parameters() if p.requires_grad]))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("name", list(DEFENSES))
def test_every_defense_comes_to_the_same_network(name):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator)
    clean = Samples(inputs=images, labels=torch.arange(40) % 3)
    victim = network().eval()
    found = [
        purify(victim, clean, method=quick(name), device="cpu", tolerance=1.0, activation_checkpointing=asked)
        for asked in (False, True)
    ]
    plain, forgetful = (dict(result.model.state_dict()) for result in found)
    assert all(torch.equal(plain[key], forgetful[key]) for key in plain)
    assert found[1].execution == found[0].execution + ", activation checkpointing"
    assert not any("forward" in vars(module) for module in found[1].model.modules())


def test_a_block_with_a_forward_of_its_own_keeps_it():
    model = network()
    block = model.layers[0][0]
    block.forward = given = lambda images: images
    forget_activations(model)
    assert block.forward is given
    assert "forward" in vars(model.layers[0][1])


def test_a_network_without_blocks_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    forget_activations(model)
    assert not any("forward" in vars(module) for module in model.modules())
