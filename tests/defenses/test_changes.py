"""Changes of all images alike: what each kind shows, how it is laid over images, how large it is."""

import pytest
import torch

from detrojan.defenses._changes import FURTHEST, KINDS, Filter, Patch, Warp

CLASSES = 4


def change(kind, shape=(3, 8, 8), limits=(0.0, 1.0)):
    return kind(CLASSES, shape, limits, torch.Generator().manual_seed(0))


def pictures(shape=(3, 8, 8)):
    return torch.rand(CLASSES, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 12), (3, 130, 70)])
def test_each_image_has_its_own_change_within_the_range_of_pixels(kind, shape):
    changes, pixels = change(kind, shape), pictures(shape)
    shown = [10 * each for each in changes.shown()] if kind is Filter else changes.shown()
    laid = changes.laid(shown, pixels)
    assert laid.shape == pixels.shape
    assert bool(((laid >= 0) & (laid <= 1)).all())
    alone = changes.laid([each[2:3] for each in shown], pixels[2:3])
    assert torch.allclose(alone, laid[2:3], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_larger_numbers_are_larger_changes_that_can_be_descended(kind):
    changes, pixels = change(kind), pictures()
    sizes = changes.sizes(changes.shown())
    assert sizes.shape == (CLASSES,)
    (changes.laid(changes.shown(), pixels).square().sum() + sizes.sum()).backward()
    assert all(bool(each.grad.abs().sum() > 0) for each in changes.free)
    with torch.no_grad():
        for each in changes.free:
            each.add_(each.sign() * 0.2 if kind is not Patch else 0.2)
    assert bool((changes.sizes(changes.shown()) > sizes).all())


def test_a_patch_covers_as_far_as_it_is_opaque():
    changes, pixels = change(Patch), pictures()
    mask = torch.zeros(CLASSES, 1, 8, 8)
    mask[:, :, 2:4, 5:] = 1.0
    laid = changes.laid([mask, torch.zeros(CLASSES, 3, 8, 8)], pixels)
    assert not bool(laid[:, :, 2:4, 5:].any())
    assert torch.equal(laid[:, :, 4:], pixels[:, :, 4:])
    assert changes.sizes([mask]).tolist() == pytest.approx([6 / 64] * CLASSES)


def test_a_pattern_lies_within_the_limits_of_pixels():
    shown = change(Patch, limits=(-2.0, 3.0)).shown()[1]
    assert -2 < float(shown.min()) < -1
    assert 2 < float(shown.max()) < 3


def test_a_warp_takes_pixels_from_where_it_says():
    changes, pixels = change(Warp), pictures((3, 9, 9))
    moves = torch.zeros(CLASSES, 2, 4, 4)
    moves[0, 0] = 1 / 8  # of the side between the outermost pixels: one pixel to the right
    laid = changes.laid([moves], pixels)
    assert torch.allclose(laid[1:], pixels[1:], atol=1e-5)
    assert torch.allclose(laid[0, :, :, :-1], pixels[0, :, :, 1:], atol=1e-5)
    assert changes.sizes([moves]).tolist() == pytest.approx([1 / 8 / 2**0.5, 0, 0, 0])


def test_a_warp_moves_no_further_than_it_may():
    changes = change(Warp)
    changes.free = [torch.full((CLASSES, 2, 4, 4), 50.0)]
    assert float(changes.shown()[0].max()) == pytest.approx(FURTHEST)


def test_a_filter_adds_what_stands_around():
    changes, pixels = change(Filter), pictures() / 4
    weights = torch.zeros(CLASSES, 3, 28)
    weights[0, 1, 2 * 9 + 5] = 0.5  # to the second channel the third one of the right neighbour
    weights[1, 0, 27] = 0.2
    laid = changes.laid([weights], pixels)
    expected = pixels[0, 1, :, :-1] + 0.5 * (pixels[0, 2, :, 1:] - 0.5)
    assert torch.allclose(laid[0, 1, :, :-1], expected.clamp(0, 1), atol=1e-6)
    assert torch.allclose(laid[0, 0], pixels[0, 0], atol=1e-6)
    assert torch.allclose(laid[1, 0], pixels[1, 0] + 0.1, atol=1e-6)
    assert torch.allclose(laid[2:], pixels[2:], atol=1e-6)
    assert changes.sizes([weights]).tolist() == pytest.approx([0.5 / 84**0.5, 0.2 / 84**0.5, 0, 0])


def test_a_filter_reaches_further_in_larger_images():
    changes, pixels = change(Filter, (1, 130, 130)), pictures((1, 130, 130))
    weights = torch.zeros(CLASSES, 1, 10)
    weights[..., 5] = 1.0
    laid = changes.laid([weights], pixels)
    expected = (pixels[..., :-3] + pixels[..., 3:] - 0.5).clamp(0, 1)
    assert torch.allclose(laid[..., :-3], expected, atol=1e-6)
