"""Tensors in place of weights: what comes out, what gets a gradient, what stays as it was."""

import pytest
import torch
from torch import nn

from detrojan.functional import Replaced, constant, holding_statistics, named_weights, stepped, with_gradients


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def test_a_replaced_weight_counts_and_gets_the_gradient(network, inputs):
    network.eval()
    mask = torch.ones(6, requires_grad=True)
    replaced = Replaced(network, {"3.weight": network[3].weight.detach() * mask})
    torch.testing.assert_close(replaced(inputs), network(inputs))
    replaced(inputs).square().sum().backward()
    assert mask.grad is not None
    assert network[3].weight.grad is None


def test_a_constant_network_forms_no_gradient_of_its_weights(network, inputs):
    inputs.requires_grad_()
    constant(network.eval())(inputs).sum().backward()
    assert inputs.grad is not None
    assert all(weight.grad is None for weight in network.parameters())


def test_a_step_has_its_radius_as_one_vector(network):
    weights = named_weights(network)
    directions = [torch.randn_like(weight) for weight in weights.values()]
    moved = stepped(weights, directions, 0.5)
    lengths = torch.stack([(moved[name] - weight).detach().norm() for name, weight in weights.items()])
    assert float(lengths.norm()) == pytest.approx(0.5, rel=1e-5)


def test_an_adaptive_step_goes_in_proportion_to_the_squared_weights():
    weights = {"one": torch.tensor([1.0, 2.0, 0.0])}
    moved = stepped(weights, [torch.ones(3)], 1.0, adaptive=True)["one"] - weights["one"]
    torch.testing.assert_close(moved, torch.tensor([1.0, 4.0, 0.0]) / 5**0.5)


def test_a_step_of_no_length_goes_nowhere(network):
    weights = named_weights(network)
    moved = stepped(weights, [torch.zeros_like(weight) for weight in weights.values()], 2.0)
    assert all(torch.equal(moved[name], weight) for name, weight in weights.items())


def test_the_gradient_at_a_step_is_that_of_the_moved_network(network, inputs):
    network.eval()
    weights = named_weights(network)
    moved = stepped(weights, [torch.ones_like(weight) for weight in weights.values()], 0.3)
    ours = torch.autograd.grad(Replaced(network, moved)(inputs).square().sum(), list(weights.values()))
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(moved[name])
    theirs = torch.autograd.grad(network(inputs).square().sum(), list(weights.values()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_given_gradients_arrive_with_the_given_value():
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    loss = with_gradients(torch.tensor(7.0), [weight], [torch.tensor([3.0, 4.0])])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(7.0)
    assert weight.grad.tolist() == [3.0, 4.0]


def test_held_statistics_stay_within_the_block_alone(network, inputs):
    network.train()
    before = network[1].running_mean.clone()
    with holding_statistics(network):
        network(inputs)
    assert torch.equal(network[1].running_mean, before)
    network(inputs)
    assert not torch.equal(network[1].running_mean, before)
