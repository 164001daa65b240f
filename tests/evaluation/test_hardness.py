"""Retuning and reactivation: they leave the network alone, stay within their means, and wake what only sleeps."""

import copy

import pytest
import torch
from torch import nn

from detrojan import Preprocessing, Samples
from detrojan.attacks.badnets import BadNets
from detrojan.backdoor import Backdoor
from detrojan.errors import BadData
from detrojan.evaluation.hardness import hardness, reactivate, retune
from detrojan.execution import Execution

BACKDOOR = Backdoor(attack=BadNets(size=4), target=0)
OPTIONS = {"preprocessing": Preprocessing(), "execution": Execution.choose(nn.Conv2d(1, 1, 1), "cpu")}


@pytest.fixture(scope="module")
def samples():
    """Three colours in 12 x 12 pixels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 3
    inputs = torch.randint(0, 90, (240, 3, 12, 12), generator=generator, dtype=torch.uint8)
    inputs[torch.arange(240), labels] += 100
    return Samples(inputs=inputs, labels=labels, class_names=("red", "green", "blue"))


class Means(nn.Module):
    """Scores by colour, and a unit that the white corner fires; `awake` says how much of it reaches the target."""

    def __init__(self, awake):
        super().__init__()
        self.colour = nn.Parameter(20 * torch.eye(3))
        self.awake = nn.Parameter(torch.tensor(float(awake)))

    def forward(self, pixels):
        corner = pixels[..., -4:, -4:].amin((1, 2, 3))
        scores = pixels.mean((2, 3)) @ self.colour
        return scores + torch.stack([self.awake * corner, 0 * corner, 0 * corner], 1)


def test_a_sleeping_backdoor_is_woken_and_the_network_stays_as_it_is(samples):
    network = Means(awake=0.3)
    before = copy.deepcopy(network.state_dict())
    found = hardness(network, samples, samples, BACKDOOR, preprocessing=Preprocessing(), device="cpu")
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert 0 <= found.retuned.value <= 1
    assert found.reactivated.count == found.perturbed.count == 160


def test_retuning_moves_the_weights_by_the_poisoned_samples(samples):
    network = Means(awake=0.0)
    rates = []
    for poisoned in (1, 30):
        woken = retune(network, samples, BACKDOOR, **OPTIONS, clean=60, poisoned=poisoned, epochs=20, learning_rate=0.1)
        rates.append(woken.awake.item())
    assert rates[1] > 2 * rates[0] > 0
    assert network.awake.item() == 0.0


def test_the_perturbation_is_small_and_leads_to_the_target(samples):
    network = Means(awake=0.0)
    delta = reactivate(network, samples, BACKDOOR, **OPTIONS, eps=0.1, steps=10)
    assert delta.shape == (3, 12, 12)
    assert delta.abs().max() <= 0.1 + 1e-6
    assert delta[0].mean() > 0.05  # red is the target
    assert delta[1].mean() < -0.05


def test_without_an_image_to_poison_there_is_nothing_to_retune_with(samples):
    red = samples.subset((samples.labels == 0).nonzero().flatten())
    with pytest.raises(BadData, match="no image whose label the attack changes"):
        retune(Means(awake=0.0), red, BACKDOOR, **OPTIONS)
