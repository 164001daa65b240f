"""The families of networks that the backdoor literature uses: all are built by name, at their published size."""

import pytest
import torch
from torch import nn

from detrojan import architectures
from detrojan.errors import BadArgument

SMALL = {
    "preact_resnet18": 11_172_170,
    "preact_resnet34": 21_280_330,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "vgg16_bn": 14_728_266,
    "vgg19_bn": 20_040_522,
    "mobilenet_v2": 2_236_682,
    "densenet121": 6_956_426,
    "vit_small": 21_342_346,
}
"""Weights for ten classes of 32-pixel images; those of the CNNs are widely reported for CIFAR-10."""
LARGE = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b3": 12_233_232,
    "densenet121": 7_978_856,
    "vit_b_16": 86_567_656,
    "convnext_tiny": 28_589_128,
}
"""Weights for the 1,000 classes of ImageNet, from torchvision's documentation."""
NARROW = {
    "preact_resnet18": {"width": 4},
    "resnet18": {"width": 4},
    "resnet34": {"width": 2},
    "resnet50": {"width": 2},
    "vgg16_bn": {"width": 4},
    "vgg19_bn": {"width": 4},
    "mobilenet_v2": {"width_mult": 0.25},
    "densenet121": {"growth": 4},
    "vit_small": {"width": 64, "depth": 2},
}


def weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_networks_for_small_images_have_the_published_size(name):
    with torch.device("meta"):
        network = architectures.build(f"detrojan:{name}").eval()
        assert network(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert weights(network) == SMALL[name]


@pytest.mark.parametrize("name", LARGE)
def test_networks_for_imagenet_have_the_published_size(name):
    side = 300 if name == "efficientnet_b3" else 224
    with torch.device("meta"):
        network = architectures.build(f"torchvision:{name}").eval()
        assert network(torch.empty(2, 3, side, side)).shape == (2, 1000)
    assert weights(network) == LARGE[name]


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_ones_give_scores_that_depend_on_the_image(name, side):
    sized = {"image_size": side} if name == "vit_small" else {}
    torch.manual_seed(0)
    network = architectures.build(f"detrojan:{name}", num_classes=7, in_channels=1, **NARROW[name], **sized)
    if name == "vit_small":
        nn.init.normal_(network.heads.head.weight)  # zeros at first, as in the paper
    scores = network(torch.rand(4, 1, side, side))
    assert scores.shape == (4, 7)
    assert scores.std(0).min() > 1e-3


@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn", "mobilenet_v2", "densenet121"])
def test_the_stem_keeps_the_resolution(name):
    network = architectures.build(f"detrojan:{name}", **NARROW[name])
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))


def test_small_and_large_resnets_share_their_keys():
    with torch.device("meta"):
        small, large = (architectures.build(f"{place}:resnet50") for place in ("detrojan", "torchvision"))
    assert list(small.state_dict()) == list(large.state_dict())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"image_size": 32, "patch": 5}, "patch must divide"), ({"width": 100}, "width must be a multiple of 64")],
)
def test_transformers_that_cannot_be(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        architectures.build("detrojan:vit_small", **settings)
