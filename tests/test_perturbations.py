"""Perturbations keep within their bounds and do what they are for."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from contexts import context_of, reds
from detrojan.data.samples import Samples
from detrojan.functional import constant
from detrojan.perturbations import ascended, limits, not_given, universal


@pytest.fixture
def network() -> nn.Module:
    """Tells the three classes of `reds` apart, by the amount of red."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[-40.0, 0, 0], [0, 0, 0], [40.0, 0, 0]]))
        network[2].bias.copy_(torch.tensor([40 * 0.2, 0, -40 * 0.6]))
    return network


def test_pixels_range_from_0_to_1_and_floats_as_they_do():
    assert limits(reds(3)) == (0.0, 1.0)
    assert limits(Samples(inputs=torch.tensor([[[-2.0, 3.0]]]), labels=torch.zeros(1).long())) == (-2.0, 3.0)


def test_one_perturbation_turns_many(network):
    samples, context = reds(30), context_of(network)
    shift = universal(constant(network), samples, context, steps=20, batch=16, learning_rate=10.0, stage="test")
    assert shift.shape == (3, 8, 8)
    turned = context.task.predict(network(samples.inputs.float() / 255 + shift)) != samples.labels
    assert float(turned.float().mean()) >= 0.5
    assert all(weight.grad is None for weight in network.parameters())
    assert context.meter.forwards == 40  # the network's own answers, and those to the perturbed inputs


@pytest.mark.parametrize(("norm", "bound"), [("linf", 0.1), ("l2", 0.5)])
def test_each_perturbation_keeps_its_bound_and_the_range(network, norm, bound):
    samples, context = reds(12), context_of(network)
    pixels = samples.inputs.float() / 255

    def gain(moved):
        return F.cross_entropy(network(moved), samples.labels, reduction="sum")

    found = ascended(
        gain,
        pixels,
        context,
        start=torch.zeros_like(pixels),
        steps=5,
        step_size=0.2,
        bound=bound,
        norm=norm,
        clip=(0, 1),
    )
    change = found - pixels
    length = change.abs().amax() if norm == "linf" else change.flatten(1).norm(dim=1).amax()
    assert float(length) <= bound + 1e-5
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(gain(found).detach()) > float(gain(pixels).detach())
    assert not found.requires_grad


def test_a_label_that_should_not_be_given_costs_the_more_the_surer_it_is():
    scores = torch.tensor([[0.0, 0.0], [5.0, 0.0], [-5.0, 0.0], [200.0, 0.0]])
    costs = not_given(scores, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(costs[0], torch.tensor(0.5).log().neg())
    assert costs[2] < costs[0] < costs[1] < costs[3]
    assert torch.isfinite(costs).all()


def test_without_a_clip_a_bright_pixel_can_go_down_again(network):
    pixels = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    found = ascended(
        lambda moved: -moved.sum(),
        pixels,
        context_of(network),
        start=torch.full_like(pixels, 0.2),
        steps=5,
        step_size=0.2,
        bound=0.2,
        norm="linf",
    )
    torch.testing.assert_close(found, pixels - 0.2)
