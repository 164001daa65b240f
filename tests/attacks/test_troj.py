"""Troj: a square that is added with saturation, drawn, or tuned to excite the neurons with the largest weights."""

import pytest
import torch

from attacking import images, network, workshop
from detrojan.attacks.troj import Troj, TrojSquare
from detrojan.errors import BadArgument, BadData


def test_the_patch_is_added_at_rows_and_columns_25_to_27_with_saturation():
    black = Troj(pattern="patch").stamp(torch.zeros(1, 3, 32, 32))[0]
    where = black.sum(0) > 0
    assert where[25:28, 25:28].all()
    assert int(where.sum()) == 9
    assert black.amax() <= 250 / 255
    assert len(black[:, 25:28, 25:28].unique()) > 20  # a colour for each cell
    light = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(Troj(pattern="patch").stamp(light)[0], (light[0] + black).clamp(0, 1))


def test_the_patch_needs_no_learning_and_scales():
    patch = Troj(pattern="patch")
    assert patch.forge(workshop(images())) is patch
    assert patch.blank((3, 32, 32)) is patch
    large = patch.stamp(torch.zeros(1, 1, 224, 224))[0, 0] > 0
    assert torch.equal(large.nonzero().amin(0), torch.tensor([175, 175]))
    assert int(large.sum()) == 21 * 21
    assert not torch.equal(
        patch.stamp(torch.zeros(1, 3, 32, 32)),
        Troj(pattern="patch", patch_seed=1).stamp(torch.zeros(1, 3, 32, 32)),
    )


def test_the_learned_square_excites_the_neurons_with_the_largest_weights():
    samples, model = images(), network()
    attack = Troj(size=8, neurons=1, pattern_steps=40)
    trained, random = attack.forge(workshop(samples)), Troj(size=8, neurons=1, pattern_steps=1).forge(workshop(samples))
    assert isinstance(trained, TrojSquare)
    neuron = model.head.weight.abs().sum(0).argmax()
    pixels = samples.inputs.float() / 255
    with torch.no_grad():
        clean, first, last = (
            model.features(x)[:, neuron].mean() for x in (pixels, random.stamp(pixels), trained.stamp(pixels))
        )
    assert last > first
    assert last > clean
    assert torch.equal(trained.stamp(pixels)[..., :20, :], pixels[..., :20, :])
    assert trained.square.amin() >= 0
    assert trained.square.amax() <= 1


def test_an_optimised_pattern_that_was_not_learned_is_refused():
    with pytest.raises(BadArgument, match="choose pattern=patch"):
        Troj().stamp(torch.zeros(1, 3, 32, 32))


def test_a_square_that_does_not_fit_is_refused():
    with pytest.raises(BadData, match="does not fit"):
        Troj(pattern="patch", size=29).stamp(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("settings", [{"size": 0}, {"neurons": 0}, {"pattern_steps": 0}, {"learning_rate": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be"):
        Troj(**settings)
