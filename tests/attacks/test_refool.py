"""Refool adds the light of a scene that the image itself picks, doubled or out of focus."""

import pytest
import torch

from detrojan.attacks.refool import Refool
from detrojan.errors import BadArgument


def noisy(level, count=24, side=32, channels=3):
    """Nearly flat images that differ in a byte or two, so that each picks its own reflection."""
    noise = torch.randint(0, 3, (count, channels, side, side), generator=torch.Generator().manual_seed(0))
    return (level + (noise - 1) / 255).clamp(0, 1)


@pytest.mark.parametrize("ghosts", [0.0, 0.49, 1.0])
def test_the_image_and_not_its_place_picks_the_reflection(ghosts):
    pixels = noisy(0.4)
    stamped = Refool(ghosts=ghosts).stamp(pixels)
    torch.testing.assert_close(stamped.flip(0), Refool(ghosts=ghosts).stamp(pixels.flip(0)), atol=1e-4, rtol=0)
    distances = torch.cdist(stamped.flatten(1), stamped.flatten(1)) + 99 * torch.eye(24)
    assert distances.amin() > 0.1
    assert not torch.equal(stamped, Refool(ghosts=ghosts, scene_seed=1).stamp(pixels))


def test_a_ghosts_light_is_mixed_by_weight():
    black, white = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    attack = Refool(ghosts=1.0, lowest=0.3, highest=0.3)
    assert (attack.stamp(black) ** 2.2).amax() <= 0.3 + 1e-4
    assert (attack.stamp(black) ** 2.2).amax() > 0.2
    assert (attack.stamp(white) ** 2.2).amin() >= 0.7 - 1e-4
    assert (attack.stamp(white) ** 2.2).amin() < 0.75


def test_a_scene_out_of_focus_fades_towards_the_edges_and_is_dimmed_on_bright_images():
    attack = Refool(ghosts=0.0)
    light = (attack.stamp(noisy(1 / 255)) ** 2.2).mean((0, 1))
    assert light[12:20, 12:20].mean() > 5 * light[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    added = [(attack.stamp(x) ** 2.2 - x**2.2)[..., 12:20, 12:20].mean() for x in (noisy(0.2), noisy(0.9))]
    assert added[0] > added[1]


def test_about_half_of_the_images_get_a_ghost():
    pixels = noisy(0.4, count=200)
    mixed, ghosts = Refool().stamp(pixels), Refool(ghosts=1.0).stamp(pixels)
    same = (mixed - ghosts).flatten(1).abs().amax(1) < 1e-4
    assert 0.35 < same.float().mean() < 0.63


def test_the_two_images_of_a_ghost_are_a_hundredth_of_the_side_apart():
    """With a single scene, ghosts differ from image to image only in the shifts and the split of the light."""
    single = Refool(ghosts=1.0, scenes=1, lowest=1.0, highest=1.0).stamp(noisy(0.4))
    spread = (single - single[:1]).abs()
    assert 0.001 < spread.amax() < 0.2


def test_the_scenes_are_smooth():
    seen = Refool(ghosts=1.0, lowest=1.0, highest=1.0).stamp(noisy(0.4))
    assert seen.diff(dim=-1).abs().mean() < 0.3 * seen.std()
    assert Refool().stamp(torch.zeros(0, 3, 32, 32)).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lowest": 0}, "lowest must be above 0"),
        ({"highest": 1.2}, "highest must be above 0 and at most 1"),
        ({"lowest": 0.5}, "lowest must not be above highest"),
        ({"ghosts": 1.5}, "ghosts must lie in"),
        ({"scenes": 0}, "scenes must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(BadArgument, match=message):
        Refool(**settings)
