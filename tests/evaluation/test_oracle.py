"""The published choice of a threshold: the lowest ASR that keeps nine tenths of the accuracy, and only from outside."""

import pytest
import torch
from torch import nn

from detrojan.attacks.badnets import BadNets
from detrojan.backdoor import Backdoor
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.evaluation.oracle import best_threshold

BACKDOOR = Backdoor(attack=BadNets(size=3), target=1)


class TwoNeurons(nn.Module):
    """The first neuron tells dark from bright, the second does nothing, the third sees the white corner and says 1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images[:, :, 0, 0].mean(1) - 0.5
        corner = (images[:, :, -1, -1].mean(1) > 0.95).float() * 10
        clean, spare, bad = self.norm(torch.stack([bright, torch.zeros_like(bright), corner], 1)).unbind(1)
        return torch.stack([-clean - bad, clean + bad + 0 * spare], 1)


@pytest.fixture
def samples() -> Samples:
    labels = torch.arange(40) % 2
    images = (labels * 160 + 40).to(torch.uint8)[:, None, None, None].repeat(1, 3, 8, 8)
    return Samples(inputs=images, labels=labels, class_names=("dark", "bright"))


def test_the_threshold_that_cuts_the_trigger_and_not_the_task_is_found(samples):
    masks = {"norm": torch.tensor([0.8, 1.0, 0.3])}
    found = best_threshold(TwoNeurons().eval(), masks, samples, BACKDOOR, preprocessing=Preprocessing())
    assert 0.3 <= found.threshold < 0.8
    assert found.oracle_asr.value == 0
    assert found.oracle_acc.value == 1
    assert found.oracle_acc.count == 40


def test_where_every_cut_costs_too_much_nothing_is_cut(samples):
    masks = {"norm": torch.tensor([0.0, 1.0, 1.0])}
    found = best_threshold(TwoNeurons().eval(), masks, samples, BACKDOOR, preprocessing=Preprocessing())
    assert found.threshold == -1
    assert (found.oracle_acc.value, found.oracle_asr.value) == (1, 1)
