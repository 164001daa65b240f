"""Augmentations keep shape and range, draw from their own generator, and mix what they say."""

import pytest
import torch

from detrojan import augmentation as augment
from detrojan.errors import BadArgument, Unsupported
from detrojan.views import strong_view


@pytest.fixture
def images():
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


ONE = {
    "crop_and_flip": augment.crop_and_flip,
    "cutout": augment.cutout,
    "brightness": augment.brightness,
    "randaugment": augment.randaugment,
    "augmix": augment.augmix,
    "strong_view": strong_view,
}


@pytest.mark.parametrize("name", ONE)
def test_the_same_generator_gives_the_same_images(images, name):
    state = torch.random.get_rng_state()
    first, again, other = (ONE[name](images, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_crop_only_moves_and_mirrors():
    image = torch.arange(256.0).reshape(1, 1, 16, 16) + 1
    cropped = augment.crop_and_flip(image, generator(), padding=2)
    inner = set(image[..., 4:12, 4:12].flatten().tolist())
    assert inner <= set(cropped.flatten().tolist()) <= set(image.flatten().tolist()) | {0.0}


def test_bytes_stay_bytes_under_crop_and_flip():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    assert augment.crop_and_flip(images, generator(), padding=1).dtype == torch.uint8


def test_no_padding_and_no_flip_is_the_identity(images):
    assert torch.equal(augment.crop_and_flip(images, generator(), padding=0, flip=False), images)


def test_mixup_mixes_each_image_with_its_partner_by_its_weight(images):
    mixed = augment.mixup(images, generator())
    wanted = mixed.weight * images + (1 - mixed.weight) * images[mixed.partner]
    torch.testing.assert_close(mixed.inputs, wanted)
    assert sorted(mixed.partner.tolist()) == list(range(8))
    assert 0 <= mixed.weight <= 1


def test_mixup_weights_are_uniform_for_alpha_one(images):
    draw = generator()
    weights = torch.tensor([augment.mixup(images, draw).weight for _ in range(400)])
    assert 0.45 < weights.mean() < 0.55
    assert 0.26 < weights.std() < 0.32


def test_cutmix_keeps_its_share_of_pixels(images):
    mixed = augment.cutmix(images, generator(3))
    own = (mixed.inputs == images).all(1).float().mean((1, 2))
    partners = mixed.partner != torch.arange(8)
    torch.testing.assert_close(own[partners], torch.full_like(own[partners], mixed.weight))


def test_the_loss_is_mixed_with_the_same_weight(images):
    mixed = augment.mixup(images, generator())
    loss = mixed.loss(torch.full((8,), 2.0), torch.full((8,), 4.0))
    assert float(loss) == pytest.approx(2 * mixed.weight + 4 * (1 - mixed.weight))


@pytest.mark.parametrize("name", ["randaugment", "augmix", "strong_view"])
def test_normalised_images_are_refused_where_pixels_are_needed(name):
    with pytest.raises(BadArgument, match=r"pixels in \[0, 1\]"):
        ONE[name](torch.randn(2, 3, 8, 8), generator())


POINTS, TOKENS, CLIPS = torch.rand(4, 32, 3), torch.ones(4, 8, dtype=torch.int64), torch.rand(4, 3, 5, 8, 8)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        *(("cutmix", inputs) for inputs in (POINTS, TOKENS, TOKENS[:, None].expand(-1, 2, -1))),
        *((name, inputs) for name in ("cutout", "randaugment", "augmix") for inputs in (POINTS, TOKENS)),
        *((name, CLIPS) for name in ("cutout", "augmix")),
    ],
)
def test_what_has_no_pixels_is_refused(name, inputs):
    with pytest.raises(Unsupported, match=r"is made for images \(B, C, H, W\).*augmentation=mixup"):
        getattr(augment, name)(inputs, generator())


@pytest.mark.parametrize("name", ["randaugment", "strong_view"])
def test_all_frames_of_a_clip_change_alike(name):
    images = torch.rand(4, 3, 16, 16)
    still = images[:, :, None].expand(-1, -1, 5, -1, -1)
    changed = ONE[name](still, generator())
    assert changed.shape == still.shape
    assert not torch.equal(changed, still)
    torch.testing.assert_close(changed, changed[:, :, :1].expand_as(changed), rtol=0, atol=0)


def test_cutmix_of_clips_keeps_its_share():
    mixed = augment.cutmix(CLIPS, generator(3))
    kept = (mixed.inputs == CLIPS).all(1).float().mean((1, 2, 3))[mixed.partner != torch.arange(4)]
    torch.testing.assert_close(kept, torch.full_like(kept, mixed.weight))
