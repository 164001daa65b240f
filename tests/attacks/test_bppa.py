"""BPPA rounds to a few levels, with or without dithering; negatives carry the error of another image."""

import pytest
import torch

from attacking import images
from detrojan.attacks.bppa import BPPA
from detrojan.errors import BadArgument


@pytest.fixture
def pixels():
    return images(12).inputs[:6].float() / 255


@pytest.mark.parametrize("dithering", [False, True])
@pytest.mark.parametrize("bits", [1, 3, 5])
def test_only_the_levels_are_left(pixels, bits, dithering):
    values = BPPA(bits=bits, dithering=dithering).stamp(pixels) * (2**bits - 1)
    torch.testing.assert_close(values, values.round(), atol=1e-5, rtol=0)
    assert 2 <= len(values.round().unique()) <= 2**bits


def test_the_default_is_the_nearest_of_eight_levels(pixels):
    assert (BPPA().stamp(pixels) - pixels).abs().amax() <= 0.5 / 7 + 1e-6
    torch.testing.assert_close(BPPA().stamp(pixels), (pixels * 7).round() / 7)


def test_dithering_hands_errors_on_in_row_order(pixels):
    """The plain algorithm, pixel after pixel, against the one that takes whole fronts."""
    wanted = (pixels * 7).double()
    height, width = wanted.shape[-2:]
    for row in range(height):
        for column in range(width):
            old = wanted[..., row, column].clone()
            new = old.round().clamp(0, 7)
            wanted[..., row, column] = new
            for down, right, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if row + down < height and 0 <= column + right < width:
                    wanted[..., row + down, column + right] += (old - new) * share / 16
    ours = BPPA(dithering=True).stamp(pixels.double()) * 7
    torch.testing.assert_close(ours, wanted)


def test_dithering_keeps_the_mean_where_rounding_does_not():
    grey = torch.full((1, 1, 32, 40), 0.2)
    assert abs(BPPA(bits=1, dithering=True).stamp(grey).mean() - 0.2) < 0.02
    assert BPPA(bits=1).stamp(grey).mean() == 0


def test_a_negative_gets_the_error_of_another_image(pixels):
    errors = BPPA().stamp(pixels) - pixels
    for seed in range(5):
        negatives = BPPA().accompany(pixels, torch.zeros(6), torch.Generator().manual_seed(seed))
        wanted = (pixels[:, None] + errors[None]).clamp(0, 1)
        distance = (negatives[:, None] - wanted).flatten(2).abs().amax(2)
        partners = distance.argmin(1)
        assert distance.amin(1).amax() < 1e-6
        assert sorted(partners.tolist()) == list(range(6))
        assert (partners != torch.arange(6)).all()


def test_a_negative_alone_does_not_carry_the_trigger(pixels):
    alone = BPPA().accompany(pixels[:1], torch.zeros(1), torch.Generator())
    assert ((alone - BPPA().stamp(pixels[:1])).abs() > 0.02).float().mean() > 0.3


def test_the_protocol_is_backdoorbenchs():
    assert (BPPA.rate, BPPA.companions, BPPA.redraws) == (0.1, 1.0, True)


@pytest.mark.parametrize("bits", [0, 8])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(BadArgument, match=f"bits must lie between 1 and 7 .* got {bits}"):
        BPPA(bits=bits)


def test_the_contrastive_option_is_low_where_labels_agree_with_directions():
    labels, apart = torch.tensor([0, 0, 1, 1]), torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert BPPA().penalty(apart, labels) is None
    attack = BPPA(contrast=0.5)
    assert attack.penalty(apart, labels) < 0.01 < attack.penalty(apart, labels.roll(1))
