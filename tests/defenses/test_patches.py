"""Patches for all classes are sought at once: a planted one is small, where it was planted, and odd."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from contexts import context_of, reds
from detrojan.defenses._patches import ODD, STEEPNESS, Patches, seek


class Trapped(nn.Module):
    """Tells `reds` apart by the amount of red in the upper rows, and says 2 where the last two pixels are bright."""

    def __init__(self, trap: float) -> None:
        super().__init__()
        self.trap = trap

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1]
        red = images[:, 0, : side * 3 // 4].mean((1, 2)) * 255
        corner = images[:, :, -1, -2:].mean((1, 2))
        scores = torch.stack([-(red - 100 * label).abs() / 10 for label in range(3)], 1)
        return scores + torch.tensor([0.0, 0.0, self.trap]) * (corner - 0.7)[:, None]


def sought(trap: float = 80.0, steps: int = 300) -> Patches:
    network = Trapped(trap).eval()
    return seek(network, reds(60), context_of(network), steps=steps, batch=60)


def patches_of(sizes: list[float], reached: list[float] | None = None) -> Patches:
    count = len(sizes)
    return Patches(
        masks=torch.tensor(sizes).view(1, count, 1, 1, 1).expand(1, count, 1, 4, 4),
        patterns=torch.ones(1, count, 3, 4, 4),
        reached=torch.tensor(reached or [1.0] * count),
        sizes=torch.tensor(sizes),
    )


def test_a_planted_patch_is_small_and_where_it_was_planted():
    patches = sought()
    assert patches.masks.shape == (4, 3, 1, 8, 8)
    assert patches.patterns.shape == (4, 3, 3, 8, 8)
    assert patches.smallest == 2
    assert patches.oddness > 0.9
    mask = patches.masks[-1, 2, 0]
    assert float(mask[-1, -2:].mean()) > 0.5
    assert float(mask[:6].mean()) < 0.1


def test_a_network_without_a_trap_is_less_odd():
    assert sought(trap=0.0).oddness < sought().oddness - 0.3


def test_a_patch_sends_images_to_its_class():
    patches, images = sought(), reds(60).inputs.float() / 255
    others = images[reds(60).labels != 2]
    generator = torch.Generator().manual_seed(0)
    stamped = patches.stamp(others, torch.full((len(others),), 2), generator)
    assert float((Trapped(80.0)(stamped).argmax(1) == 2).float().mean()) > 0.9
    assert float((Trapped(80.0)(others).argmax(1) == 2).float().mean()) == 0


def test_a_large_image_has_cells_of_several_pixels():
    network = Trapped(0.0).eval()
    samples = reds(6, size=130)
    patches = seek(network, samples, context_of(network), steps=2, batch=6)
    assert patches.masks.shape[-2:] == (44, 44)
    stamped = patches.stamp(samples.inputs.float() / 255, torch.zeros(6, dtype=torch.long), torch.Generator())
    assert stamped.shape == samples.inputs.shape


def test_the_same_is_found_again_whatever_the_labels():
    network, samples = Trapped(80.0).eval(), reds(12)
    twice = [seek(network, each, context_of(network), steps=3, batch=6) for each in (samples, samples)]
    assert torch.equal(twice[0].masks, twice[1].masks)
    samples.labels[:] = 0
    assert torch.equal(seek(network, samples, context_of(network), steps=3, batch=6).masks, twice[0].masks)


@pytest.mark.parametrize(
    ("sizes", "reached", "oddness"),
    [
        ([0.1, 0.1, 0.1], None, 1 / (1 + (1 / ODD) ** STEEPNESS)),
        ([0.1 * ODD, 0.1, 0.1], None, 0.5),
        ([0.06, 0.1, 0.1], None, 0.0376),  # somewhat smaller says next to nothing
        ([0.001, 0.1, 0.1], None, 1.0),
        ([0.001, 0.1], None, 0.0),  # of two classes none is odd
        ([0.001, 0.1, 0.1, 0.1], [0.2, 1.0, 1.0, 1.0], 1 / (1 + (1 / ODD) ** STEEPNESS)),  # what fails is not small
        ([0.001, 0.1, 0.1], [0.9, 0.1, 0.1], 0.0),
    ],
)
def test_how_odd_the_smallest_is(sizes, reached, oddness):
    assert patches_of(sizes, reached).oddness == pytest.approx(oddness, abs=1e-3)


def test_notes_say_which_class_is_reached_with_how_little():
    told = patches_of([0.05, 0.002, 0.04, 0.06]).notes()
    assert told["smallest patch"] == "to class 1, 0.20 % of the pixels; to the median class 4.00 %"
    named = replace(patches_of([0.05, 0.002, 0.04]), names=("dog", "cat", "cow")).notes()
    assert str(named["smallest patch"]).startswith("to class 1 (cat), 0.20 %")
    assert told["how odd that is, 0 to 1"] == 1.0
    assert "too few classes" in str(patches_of([0.1, 0.2]).notes()["smallest patch"])
