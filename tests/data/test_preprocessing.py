"""What happens between stored samples and the model, by settings, by preset, by the weights' own recipe."""

import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms.v2 import functional

from detrojan.data.preprocessing import PRESETS, Preprocessing
from detrojan.errors import BadArgument, BadData, UnknownName, Unsupported


@pytest.mark.parametrize(
    ("stored", "settings", "expected"),
    [
        (torch.tensor([[[[0, 255]]]], dtype=torch.uint8), {}, [0.0, 1.0]),
        (torch.tensor([[[[0.25, 2.0]]]]), {}, [0.25, 2.0]),
        (torch.tensor([[[[255, 51]]]], dtype=torch.uint8), {"mean": (0.5,), "std": (0.5,)}, [1.0, -0.6]),
        (torch.tensor([[[[1.0]], [[1.0]]]]), {"mean": (0.5, 0.0), "std": (0.5, 2.0)}, [1.0, 0.5]),
        (torch.tensor([[[[1.0]], [[3.0]]]]), {"std": (2.0,)}, [0.5, 1.5]),
        (torch.tensor([[3, 9]]), {}, [3, 9]),
    ],
)
def test_values(stored, settings, expected):
    assert Preprocessing(**settings)(stored).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"size": (5, 7)}, (5, 7)),
        ({"resize": 4}, (4, 6)),
        ({"crop": (6, 6)}, (6, 6)),
        ({"resize": 4, "crop": (3, 2)}, (3, 2)),
        ({"size": (4, 4), "interpolation": "nearest"}, (4, 4)),
    ],
)
def test_shapes(settings, shape):
    images = torch.randint(256, (2, 3, 8, 12), dtype=torch.uint8)
    assert Preprocessing(**settings)(images).shape == (2, 3, *shape)


def test_a_resize_to_the_size_at_hand_changes_nothing():
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(Preprocessing(size=(8, 8), interpolation="bicubic")(images), images)


def test_gradients_reach_float_inputs():
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    Preprocessing(resize=6, crop=(4, 4), mean=(0.5,), std=(0.25,))(images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad[:, :, 2:6, 2:6].min() > 0


def test_torchvision_recipe_agrees_with_its_own_transform():
    weights = models.ResNet50_Weights.IMAGENET1K_V2
    picture = torch.randint(256, (3, 300, 260), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = Preprocessing.of_weights("torchvision:ResNet50_Weights.IMAGENET1K_V2")(picture[None])[0]
    theirs = weights.transforms()(picture)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1.5 / 255 / 0.22


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "torchvision:ResNet18_Weights.IMAGENET1K_V1",
            {"resize": 256, "crop": (224, 224), "interpolation": "bilinear"},
        ),
        ("torchvision:resnet18", {"resize": 256, "crop": (224, 224), "interpolation": "bilinear"}),
        ("timm:resnet18", {"resize": 235, "crop": (224, 224), "interpolation": "bicubic"}),
    ],
)
def test_recipes(name, expected):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    recipe = Preprocessing.of_weights(name)
    assert {key: getattr(recipe, key) for key in expected} == expected
    assert (recipe.mean, recipe.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("torchvision:ResNet18_Weights.NOPE", UnknownName, "torchvision has no weights 'ResNet18_Weights.NOPE'"),
        ("torchvision:resnt", UnknownName, "torchvision has no weights 'resnt'"),
        ("torchvision:r3d_18", Unsupported, "is for VideoClassification, not for image"),
        ("timm:nope", UnknownName, "timm has no weights 'nope'"),
        ("resnet18", UnknownName, "must be named torchvision:NAME or timm:NAME, got 'resnet18'"),
        ("timm:", UnknownName, "must be named"),
    ],
)
def test_unknown_weights(name, error, sentence):
    if name == "timm:nope":
        pytest.importorskip("timm")
    with pytest.raises(error, match=sentence):
        Preprocessing.of_weights(name)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_normal_settings(name):
    assert Preprocessing.parse(name) == Preprocessing.named(name) == Preprocessing(**PRESETS[name])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Preprocessing()),
        ("size=32", Preprocessing(size=(32, 32))),
        (
            "mean=.5,.5,.5; std=0.25,1,1e-1 ;size=32x48",
            Preprocessing(mean=(0.5,) * 3, std=(0.25, 1, 0.1), size=(32, 48)),
        ),
        ("resize=40;crop=32;interpolation=bicubic", Preprocessing(resize=40, crop=(32, 32), interpolation="bicubic")),
        ("cifar10;size=16", Preprocessing(**PRESETS["cifar10"], size=(16, 16))),
        (
            "imagenet;size=64",
            Preprocessing(size=(64, 64), mean=PRESETS["imagenet"]["mean"], std=PRESETS["imagenet"]["std"]),
        ),
        (
            "torchvision:resnet18;crop=32;resize=32",
            Preprocessing(**PRESETS["imagenet"] | {"resize": 32, "crop": (32, 32)}),
        ),
    ],
)
def test_parse(text, expected):
    assert Preprocessing.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("cifar", UnknownName, "no preprocessing 'cifar', did you mean 'cifar10'"),
        ("men=1", UnknownName, "no preprocessing setting 'men', did you mean 'mean'"),
        ("mean=a", BadArgument, "mean must be numbers with commas between, got 'a'"),
        ("size=big", BadArgument, "size must be a number of pixels, such as 32 or 32x48, got 'big'"),
        ("resize=3x4", BadArgument, "resize must be a number of pixels"),
        ("size=0", BadArgument, "size must be at least 1 pixel"),
        ("size=3;resize=4", BadArgument, "either size or resize and crop"),
        ("interpolation=cubic", BadArgument, "must be bilinear, bicubic or nearest, got 'cubic'"),
        ("std=1,0", BadArgument, "std must be above 0"),
        ("mean=1,2;std=1,2,3", BadArgument, "mean and std must be equally many"),
    ],
)
def test_settings_that_cannot_be(text, error, sentence):
    with pytest.raises(error, match=sentence):
        Preprocessing.parse(text)


def test_channels_that_do_not_fit():
    with pytest.raises(BadData, match="3 mean or std values, but the inputs have 1 channels"):
        Preprocessing.named("cifar10")(torch.zeros(1, 1, 4, 4))


def test_resize_agrees_with_pillow_on_photographs():
    picture = Image.effect_mandelbrot((48, 32), (-2, -1, 1, 1), 50).convert("RGB")
    ours = Preprocessing(size=(16, 16))(functional.pil_to_tensor(picture)[None])[0]
    theirs = functional.pil_to_tensor(picture.resize((16, 16), Image.Resampling.BILINEAR)).float() / 255
    assert (ours - theirs).abs().max() < 1.5 / 255
