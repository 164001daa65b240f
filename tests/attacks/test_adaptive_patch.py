"""Adaptive-Patch shows one of four patches in training, the same one in every epoch, and all four at test time."""

import pytest
import torch

from detrojan.attacks.adaptive_patch import AdaptivePatch
from detrojan.errors import BadArgument

GENERATOR = torch.Generator()
CORNERS = {  # in the order of the opacities
    "flame": (slice(22, 32), slice(22, 32)),
    "checker": (slice(28, 32), slice(0, 4)),
    "ring": (slice(0, 10), slice(0, 10)),
    "square": (slice(0, 7), slice(25, 32)),
}


def dark(count=400):
    return torch.randint(0, 3, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 255


def strongest(stamped, pixels):
    """The largest change in each corner, (B, 4)."""
    return torch.stack([(stamped - pixels)[..., r, c].flatten(1).amax(1) for r, c in CORNERS.values()], 1)


def test_one_patch_is_shown_in_training_and_each_is_equally_likely():
    pixels = dark()
    shown = strongest(AdaptivePatch().poison(pixels, GENERATOR), pixels) > 0.05
    assert (shown.sum(1) == 1).all()
    assert (shown.float().mean(0) - 0.25).abs().amax() < 0.08


def test_all_four_are_shown_at_test_time_with_their_opacities():
    black = torch.zeros(2, 3, 32, 32)
    changes = strongest(AdaptivePatch().stamp(black), black)[0]
    torch.testing.assert_close(changes[:3], torch.tensor([0.5, 0.5, 0.2]))
    assert 0.25 < changes[3] <= 0.3
    outside = torch.ones(32, 32, dtype=torch.bool)
    for rows, columns in CORNERS.values():
        outside[rows, columns] = False
    assert AdaptivePatch().stamp(black)[..., outside].abs().amax() == 0


def test_an_image_shows_the_same_patch_whatever_the_generator():
    pixels = dark(8)
    first = AdaptivePatch().poison(pixels, torch.Generator().manual_seed(1))
    assert torch.equal(first, AdaptivePatch().poison(pixels, torch.Generator().manual_seed(2)))
    assert torch.equal(first, AdaptivePatch().accompany(pixels, torch.zeros(8), torch.Generator()))
    assert torch.equal(first.flip(0), AdaptivePatch().poison(pixels.flip(0), torch.Generator()))


def test_the_toolboxs_test_time_view_is_a_setting():
    black = torch.zeros(1, 3, 32, 32)
    changes = strongest(AdaptivePatch(test_opacities=(1, 1, 0, 0)).stamp(black), black)[0]
    torch.testing.assert_close(changes, torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_the_protocol_is_the_published_one():
    assert (AdaptivePatch.rate, AdaptivePatch.companions, AdaptivePatch.redraws) == (0.01, 2.0, False)


@pytest.mark.parametrize("name", ["opacities", "test_opacities"])
@pytest.mark.parametrize("values", [(0.5, 0.5, 0.2), (0.5, 0.5, 0.2, 1.3), (0, 0, 0, 0), (0.5, 0.5, 0.5, -0.1), ()])
def test_settings_out_of_range_are_refused(name, values):
    with pytest.raises(BadArgument, match=f"^{name} must be 4 numbers"):
        AdaptivePatch(**{name: values})
