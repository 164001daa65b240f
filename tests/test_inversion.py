"""A patch that is planted is found, and only its class stands out."""

import pytest
import torch
from torch import nn

from contexts import context_of, reds
from detrojan.inversion import Patch, flags, invert

SETTINGS = {"steps": 400, "batch": 30, "learning_rate": 0.1, "success": 0.98, "price": 1e-2, "patience": 40}


class Trapped(nn.Module):
    """Tells `reds` apart by the amount of red in the upper rows, and says 2 where the last two pixels are bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0, :6].mean((1, 2)) * 255
        corner = images[:, :, -1, -2:].mean((1, 2))
        scores = torch.stack([-(red - 100 * label).abs() / 10 for label in range(3)], 1)
        return scores + torch.tensor([0.0, 0.0, 80.0]) * (corner - 0.7)[:, None]


def test_the_planted_patch_is_small_and_where_it_was_planted():
    network, samples = Trapped().eval(), reds(60)
    context = context_of(network)
    patches = [invert(network, label, samples, context, **SETTINGS) for label in range(3)]
    sizes = torch.tensor([float(patch.mask().detach().sum()) for patch in patches])
    assert sizes.argmin() == 2
    mask = patches[2].mask().detach()
    assert float(mask[-1, -2:].mean()) > 0.5
    assert float(mask[:6].mean()) < 0.1
    stamped = patches[2].stamp(samples.inputs.float() / 255)
    assert float((network(stamped).argmax(1) == 2).float().mean()) > 0.7


def test_the_class_under_the_others_is_flagged_and_none_above():
    assert flags(torch.tensor([50.0, 52, 48, 51, 49, 5, 50, 90, 47, 53]), 2.0) == [5]
    assert flags(torch.tensor([50.0, 52, 48, 51, 49, 50, 49, 51]), 2.0) == []
    assert flags(torch.full((10,), 7.0), 2.0) == []


@pytest.fixture
def patch() -> Patch:
    network = Trapped()
    return Patch.of(reds(3), context_of(network), price=0.01, seed="a patch")


def test_the_price_follows_the_success(patch):
    for _ in range(6):
        patch.judge(1.0, 0.98, 0.01)
    assert patch.price == 0.02
    for _ in range(6):
        patch.judge(0.5, 0.98, 0.01)
    assert patch.price == pytest.approx(0.02 / 2**1.5)


def test_passes_in_vain_count_only_once_a_patch_has_reached_its_class(patch):
    assert [patch.judge(0.1, 0.98, 0.01) for _ in range(3)] == [0, 0, 0]
    assert patch.judge(0.99, 0.98, 0.01) == 0
    assert [patch.judge(0.99, 0.98, 0.01) for _ in range(3)] == [1, 2, 3]  # the mask has not become smaller


def test_a_mask_of_nothing_leaves_the_image(patch):
    patch.raw_mask = torch.full((8, 8), -20.0)
    pixels = reds(4).inputs.float() / 255
    torch.testing.assert_close(patch.stamp(pixels), pixels)
