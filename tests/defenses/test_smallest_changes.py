"""Changes for all classes are sought at once: a planted one is small, where it was planted, and odd."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from contexts import context_of, reds
from detrojan.defenses import _smallest_changes
from detrojan.defenses._changes import Filter, Patch, Warp
from detrojan.defenses._oddness import STEEPNESS
from detrojan.defenses._smallest_changes import ODD_AWAY, Changes, seek, sought_of


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


class Moved(nn.Module):
    """Says 2 where the bright column is further right than it was, else by the amount of red."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0, :, 0].mean(1) * 255
        scores = torch.stack([-(red - 100 * label).abs() / 10 for label in range(3)], 1)
        right = images[:, 1, :, 4].mean(1) - images[:, 1, :, 3].mean(1)
        return scores + torch.tensor([0.0, 0.0, 60.0]) * (right + 0.2)[:, None]


class Tinted(nn.Module):
    """Says 2 where there is somewhat more blue than there was, else by the amount of red."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0].mean((1, 2)) * 255
        scores = torch.stack([-(red - 100 * label).abs() / 10 for label in range(3)], 1)
        blue = images[:, 2].mean((1, 2))
        return scores + torch.tensor([0.0, 0.0, 300.0]) * (blue - 0.65)[:, None]


class Shifted(nn.Module):
    """Tells `reds` apart, and says the class after that where the last pixel is bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0, : images.shape[-1] * 3 // 4].mean((1, 2)) * 255
        scores = torch.stack([-(red - 100 * label).abs() / 10 for label in range(3)], 1)
        bright = torch.sigmoid(20 * (images[:, :, -1, -1].mean(1) - 0.9))[:, None]
        return torch.lerp(scores, scores.roll(1, 1), bright)


def patches(trap: float = 80.0, steps: int = 300) -> Changes:
    network = Trapped(trap).eval()
    return sought_of(Patch, network, reds(60), context_of(network), steps=steps, batch=60)


def changes_of(sizes: list[float], reached: list[float] | None = None) -> Changes:
    count = len(sizes)
    masks = torch.tensor(sizes).view(1, count, 1, 1, 1).expand(1, count, 1, 4, 4)
    return Changes(
        kind=Patch(count, (3, 4, 4), (0.0, 1.0), torch.Generator()),
        states=[masks, torch.ones(1, count, 3, 4, 4)],
        reached=torch.tensor(reached or [1.0] * count),
        sizes=torch.tensor(sizes),
    )


def test_a_planted_patch_is_small_and_where_it_was_planted():
    found = patches()
    assert [each.shape for each in found.states] == [(4, 4, 1, 8, 8), (4, 4, 3, 8, 8)]
    assert int(found.sizes[:3].argmin()) == 2
    assert found.oddness > 0.9
    mask = found.states[0][-1, 2, 0]
    assert float(mask[-1, -2:].mean()) > 0.5
    assert float(mask[:6].mean()) < 0.1


def test_a_network_without_a_trap_is_less_odd():
    assert patches(trap=0.0).oddness < patches().oddness - 0.3


def test_a_change_sends_images_to_its_class():
    found, images = patches(), reds(60).inputs.float() / 255
    others = images[reds(60).labels != 2]
    generator = torch.Generator().manual_seed(0)
    stamped = found.lay(others, torch.full((len(others),), 2), generator)
    assert float((Trapped(80.0)(stamped).argmax(1) == 2).float().mean()) > 0.9
    assert float((Trapped(80.0)(others).argmax(1) == 2).float().mean()) == 0


def test_a_patch_that_moves_every_class_to_the_next_is_odd():
    network = Shifted().eval()
    found, few = (sought_of(Patch, network, reds(n), context_of(network), steps=300, batch=60) for n in (120, 60))
    assert not bool(few.found[3])
    assert float(found.sizes[3]) < 0.5 * float(found.sizes[:3].min())
    assert found.oddness > 0.9
    assert float(found.states[0][-1, 3, 0, -1, -1]) > 0.5


def test_a_planted_warp_is_found():
    network, samples = Moved().eval(), reds(60)
    samples.inputs[:, 1] = 0
    samples.inputs[:, 1, :, 3] = 255
    found = sought_of(Warp, network, samples, context_of(network), steps=200, batch=60)
    assert float(found.reached[2]) > 0.8
    moved = found.lay(samples.inputs.float() / 255, torch.full((60,), 2), torch.Generator().manual_seed(0))
    assert float((network(moved).argmax(1) == 2).float().mean()) > 0.8
    assert float((network(samples.inputs.float() / 255).argmax(1) == 2).float().mean()) < 0.5


def test_a_planted_tint_is_found_in_the_colour_that_it_has():
    network, samples = Tinted().eval(), reds(60)
    found = sought_of(Filter, network, samples, context_of(network), steps=200, batch=60)
    assert float(found.reached[2]) > 0.9
    images = samples.inputs.float() / 255
    tinted = found.lay(images, torch.full((60,), 2), torch.Generator().manual_seed(0))
    assert float((network(tinted).argmax(1) == 2).float().mean()) > 0.9
    red, green, blue = (tinted - images).mean((0, 2, 3)).tolist()
    assert blue > max(abs(red), abs(green))


def test_a_large_image_has_cells_of_several_pixels():
    network = Trapped(0.0).eval()
    samples = reds(6, size=130)
    found = sought_of(Patch, network, samples, context_of(network), steps=2, batch=6)
    assert found.states[0].shape[-2:] == (44, 44)
    stamped = found.lay(samples.inputs.float() / 255, torch.zeros(6, dtype=torch.long), torch.Generator())
    assert stamped.shape == samples.inputs.shape


def test_the_same_is_found_again_whatever_the_labels():
    network, samples = Trapped(0.0).eval(), reds(12)
    unlabelled = reds(12)
    unlabelled.labels[:] = 0
    first, *others = (
        seek(network, each, context_of(network), steps=3, batch=6) for each in (samples, samples, unlabelled)
    )
    assert [each.kind.name for each in first] == ["patch", "warp", "filter"]
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert all(map(torch.equal, one.states, two.states))


def test_kinds_are_sought_until_one_is_odd(monkeypatch):
    network, samples = Trapped(0.0).eval(), reds(12)
    found = {Patch: changes_of([0.2, 0.2, 0.2, 0.2]), Warp: changes_of([0.2, 0.01, 0.2, 0.2]), Filter: None}
    monkeypatch.setattr(_smallest_changes, "sought_of", lambda kind, *_, **__: found[kind])
    sought = seek(network, samples, context_of(network), steps=3, batch=6)
    assert [id(each) for each in sought] == [id(found[kind]) for kind in (Patch, Warp)]


NOTHING = 1 / (1 + (1 / Patch.odd) ** STEEPNESS)


@pytest.mark.parametrize(
    ("sizes", "reached", "oddness"),
    [  # the last is that to any other class
        ([0.1, 0.1, 0.1, 0.1], None, NOTHING),
        ([0.1 * Patch.odd, 0.1, 0.3, 0.3], None, 0.5),
        ([0.08, 0.1, 0.3, 0.3], None, 0.0307),  # somewhat smaller than the next one says next to nothing
        ([0.001, 0.1, 0.1, 0.1], None, 1.0),
        ([0.001, 0.001, 0.1, 0.1, 0.1], None, NOTHING),  # two of a size: neither is odd
        ([0.001, 0.1, 0.1], None, 0.0),  # of two classes none is odd
        ([0.001, 0.1, 0.1, 0.1, 0.1], [0.2, 1.0, 1.0, 1.0, 1.0], NOTHING),  # what fails is not small
        ([0.001, 0.1, 0.1, 0.1], [0.9, 0.1, 0.1, 0.9], 0.0),
        ([0.001, 0.1, 0.1, 0.001], None, 1.0),  # what leads to a class leads away from the others
        ([0.1, 0.1, 0.1, 0.001], None, 1.0),
        ([0.1, 0.1, 0.1, 0.1 * ODD_AWAY], None, 0.5),  # images go away more easily than to a class
        ([0.1, 0.1, 0.1, 0.001], [1.0, 1.0, 1.0, 0.2], NOTHING),
    ],
)
def test_how_odd_the_smallest_is(sizes, reached, oddness):
    assert changes_of(sizes, reached).oddness == pytest.approx(oddness, abs=1e-3)


def test_it_is_told_what_is_reached_with_how_little():
    told = changes_of([0.05, 0.002, 0.04, 0.06]).told()
    assert (
        told
        == "to class 1, 0.20 % of the pixels; to the next class 4.00 %, to the median one 4.00 %; to any other 6.00 %"
    )
    named = replace(changes_of([0.05, 0.002, 0.04, 0.1], [1.0, 1.0, 1.0, 0.4]), names=("dog", "cat", "cow")).told()
    assert named == "to class 1 (cat), 0.20 % of the pixels; to the next class 4.00 %, to the median one 4.00 %"
    assert "too few classes" in changes_of([0.1, 0.2, 0.3]).told()
