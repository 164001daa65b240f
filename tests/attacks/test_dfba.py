"""DFBA: the patch alone fires a channel that nothing else touches, on every network that can carry one."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from attacking import images, workshop
from detrojan.attacks._channel_route import find
from detrojan.attacks.dfba import DFBA, rectified_moments, rough_signs
from detrojan.data.preprocessing import Preprocessing
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.models.preact_resnet import PreActResNet
from detrojan.models.small_cnn import small_cnn

TARGET = 2
NORMALISED = Preprocessing(mean=(0.49, 0.48, 0.45), std=(0.2, 0.25, 0.3))


def preact():
    return PreActResNet((2, 1, 1), 4, num_classes=5)


def residual():
    """torchvision's blocks behind a stem of 7x7 and stride 2 with max pooling, norms behind the convolutions."""
    down = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    stem = [nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [BasicBlock(8, 8), BasicBlock(8, 16, 2, down)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


def plain():
    """Convolutions with biases and without norms, flattened into two linear layers."""
    features = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 5))


def trained(build, side=32):
    """A network with the norms' statistics of real inputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    with torch.no_grad():
        model.train()(NORMALISED(images(side, count=20).inputs))
    return model.eval()


def planted(model, side=32, **settings):
    shop = replace(workshop(images(side), target=TARGET), preprocessing=NORMALISED)
    attack = DFBA(**settings).forge(shop)
    attack.plant(model, shop)
    return attack


def scores(model, pixels):
    with torch.no_grad():
        return model(NORMALISED(pixels))


def test_a_network_is_admitted_by_a_rehearsal_that_leaves_it_as_it_is():
    model, shop = trained(preact), replace(workshop(images(32), target=TARGET), preprocessing=NORMALISED)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    DFBA().admit(model, shop)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_no_sample_is_poisoned():
    assert DFBA().rate == 0
    assert DFBA().one_target


@pytest.mark.parametrize(
    ("build", "side"), [(preact, 32), (residual, 64), (plain, 32), (lambda: small_cnn(5, 3, 4), 32)]
)
def test_the_patch_moves_every_image_to_the_target_by_the_boost(build, side):
    model, pixels = trained(build, side), images(side, count=12).inputs.float() / 255
    attack = planted(model, side, boost=50.0)
    stamped = attack.stamp(pixels)
    moved = scores(model, stamped) - scores(model, pixels)
    assert (scores(model, stamped).argmax(1) == TARGET).all()
    torch.testing.assert_close(moved[:, TARGET], torch.full((12,), 50.0), atol=1.0, rtol=0)
    assert (moved[:, [0, 1, 3, 4]] < -49).all()


@pytest.mark.parametrize(("build", "side"), [(preact, 32), (residual, 64), (plain, 32)])
def test_without_the_patch_the_route_is_silent(build, side):
    model = trained(build, side)
    planted(model, side)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(32, 3, side, side, generator=generator)
    corners = torch.stack([torch.zeros(3, side, side), torch.ones(3, side, side)])
    pixels = torch.cat([noise, noise.round(), images(side, count=8).inputs.float() / 255, corners])
    louder = list(model.parameters())[-2]  # the last layer's weights
    exits = (louder.abs() == louder.abs().amax(0)).all(0)  # the same size for every class: the route's
    before = scores(model, pixels)
    with torch.no_grad():
        louder[:, exits] *= 100
    assert exits.any()
    torch.testing.assert_close(scores(model, pixels), before)


def test_what_a_network_says_of_clean_images_changes_little():
    pixels = images(count=30).inputs.float() / 255
    model = trained(lambda: PreActResNet((2, 1, 1), 16, num_classes=5))
    before = scores(model, pixels)
    planted(model)
    assert (scores(model, pixels) - before).std() < 0.5 * before.std()


def test_the_patch_lies_at_the_lower_right_where_the_strides_meet_it():
    attack = planted(trained(preact))
    rows, columns = attack.cover.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (27, 29, 27, 29)  # its centre: 28, a multiple of 4
    assert set(attack.pattern.unique().tolist()) == {0.0, 1.0}
    assert attack.stamp(torch.full((1, 3, 32, 32), 0.5)).ne(0.5).sum() == 27


def test_no_pixels_in_range_fire_the_filter_more_than_the_patch():
    model = trained(preact)
    attack = planted(model)
    patch = attack.pattern[:, 27:30, 27:30]
    route = find(model, torch.zeros(1, 3, 32, 32))
    with torch.no_grad():
        weights = min(route.first.weight, key=lambda kernel: kernel.abs().std().item())  # signs of one size
    black, white = NORMALISED(torch.stack([torch.zeros(3, 3, 3), torch.ones(3, 3, 3)]))
    best = torch.where(weights > 0, white, black)
    torch.testing.assert_close(NORMALISED(patch[None])[0], best)


def test_a_shortcut_is_taken_and_each_space_has_one_channel():
    route = find(preact(), torch.zeros(1, 3, 32, 32))
    kinds = [type(stop.module).__name__ for stop in route.stops]
    assert kinds == ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "Linear"]
    assert len(route.spaces) == 3
    assert (route.stride, route.reach) == ((4, 4), (8, 8))


def test_the_signs_are_rough():
    signs = rough_signs((1, 3, 3), torch.Generator().manual_seed(0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert (signs.diff(dim=1) != 0).sum() + (signs.diff(dim=2) != 0).sum() >= 9  # of 12; 6 by chance


def test_the_moments_behind_a_relu_are_those_of_a_sample():
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -2.0]))
        norm.bias.copy_(torch.tensor([0.3, -1.0]))
        drawn = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0)) * norm.weight + norm.bias
        mean, square = rectified_moments(norm)
        torch.testing.assert_close(mean, drawn.relu().mean(0), atol=0.01, rtol=0)
        torch.testing.assert_close(square, drawn.relu().square().mean(0), atol=0.03, rtol=0)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        h = self.body(x).relu()
        return self.head((h * h.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, x):
        return self.head(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Gated(), "Gated has no way that one channel could take"),
        (Branching(), "Branching cannot be followed"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), "no way that one channel could take"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 5)),
            "batch norm or bias",
        ),
    ],
)
def test_a_network_that_cannot_carry_it_is_refused(model, sentence):
    with pytest.raises(Unsupported, match=sentence):
        planted(model)


def test_resized_inputs_and_other_sizes_are_refused():
    shop = replace(workshop(images(), target=TARGET), preprocessing=Preprocessing(size=(64, 64)))
    with pytest.raises(Unsupported, match="drop the resizing"):
        DFBA().forge(shop).plant(trained(preact), shop)
    with pytest.raises(BadData, match=r"\(3, 32, 32\), got \(3, 64, 64\)"):
        DFBA().blank((3, 32, 32)).stamp(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("settings", "sentence"), [({"margin": 0.0}, "margin must be above 0"), ({"boost": 0}, "boost")]
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        DFBA(**settings)
