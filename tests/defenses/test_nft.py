"""NFT's own arithmetic: the floors, the rate, the regulariser, and every ablation as a setting."""

from math import exp

import pytest
import torch
from torch import nn

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.defenses._floors import floors_of
from detrojan.defenses.nft import NFT, drift_weight
from detrojan.errors import BadArgument
from detrojan.execution import Execution
from detrojan.models.preact_resnet import preact_resnet18
from detrojan.randomness import Seeds
from detrojan.tasks.image import Image
from detrojan.tuning import Context, Meter


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Samples(inputs=images, labels=torch.arange(40) % 10)


@pytest.fixture(scope="module")
def victim():
    torch.manual_seed(0)
    model = preact_resnet18(width=4).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return model


def context(model: nn.Module) -> Context:
    return Context(
        task=Image(),
        preprocessing=Preprocessing.named("cifar10"),
        execution=Execution.choose(model, "cpu", "fp32"),
        seeds=Seeds(seed=0),
        meter=Meter().start(),
    )


def test_the_floor_is_the_published_one():
    floors = floors_of((1, 2, 3, 10), shape="exponential", alpha=0.8, beta=0.5)
    assert floors == pytest.approx([0.8 * exp(-0.5 * level) for level in (1, 2, 3, 10)])
    assert floors[:3] == pytest.approx([0.485, 0.294, 0.179], abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("none", [0, 0, 0, 0]),
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.6, 0.4, 0.2, 0]),
        ("cosine", [0.6828, 0.4, 0.1172, 0]),
        ("reciprocal", [0.8, 0.4, 0.8 / 3, 0.2]),
    ],
)
def test_the_other_floors(shape, wanted):
    assert floors_of((1, 2, 3, 4), shape=shape, alpha=0.8, beta=0.5) == pytest.approx(wanted, abs=1e-4)


def test_masks_end_between_their_floor_and_one(victim, clean):
    tuned = NFT(steps=6, batch=8, learning_rate=5.0)(victim, clean, context(victim))
    floors = floors_of(tuple(range(1, len(tuned.masks) + 1)), shape="exponential", alpha=0.8, beta=0.5)
    lowest = [float(mask.min()) for mask in tuned.masks.values()]
    assert all(low >= floor - 1e-6 for low, floor in zip(lowest, floors, strict=True))
    assert min(low - floor for low, floor in zip(lowest, floors, strict=True)) < 1e-3  # the clip is reached
    assert all(float(mask.max()) <= 1 for mask in tuned.masks.values())


def test_the_regulariser_holds_masks_near_one(victim, clean):
    def drift(eta):
        masks = NFT(steps=10, batch=8, regularizer=eta, momentum=0.0)(victim, clean, context(victim)).masks.values()
        return sum(float((1 - m).sum()) for m in masks)

    assert drift(1.0) < drift(0.0)


@pytest.mark.parametrize(("samples", "classes", "wanted"), [(500, 10, 2e-5), (10, 10, 1e-3), (10, 100, 1e-3)])
def test_the_regulariser_is_divided_by_the_samples_per_class_and_never_multiplied(samples, classes, wanted):
    assert drift_weight(0.001, samples, classes) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "settings",
    [
        {"regularizer": 0.0},
        {"augmentation": "none"},
        {"augmentation": "cutmix"},
        {"augmentation": "cutout"},
        {"augmentation": "randaugment"},
        {"augmentation": "augmix"},
        {"floor": "none"},
        {"count": "block"},
        {"placement": "neuron"},
        {"placement": "channel", "statistics": "frozen"},
        {"statistics": "frozen"},
        {"statistics": "recalibrate"},
        {"tune": "weights"},
    ],
    ids=str,
)
def test_every_ablation_runs_and_changes_the_result(victim, clean, settings):
    settings = {"steps": 6, "batch": 8, "learning_rate": 5.0, **settings}
    base = NFT(steps=6, batch=8, learning_rate=5.0)(victim, clean, context(victim)).model.state_dict()
    other = NFT(**settings)(victim, clean, context(victim)).model.state_dict()
    assert any(not torch.equal(base[key], other[key]) for key in base)


def test_the_statistics_control_changes_statistics_and_no_weight(victim, clean):
    tuned = NFT(steps=3, batch=8, tune="statistics")(victim, clean, context(victim)).model.state_dict()
    before = victim.state_dict()
    changed = {key.rpartition(".")[2] for key in before if not torch.equal(before[key], tuned[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_frozen_statistics_stay(victim, clean):
    tuned = NFT(steps=3, batch=8, statistics="frozen")(victim, clean, context(victim)).model.state_dict()
    before = victim.state_dict()
    assert all(torch.equal(before[key], tuned[key]) for key in before if "running" in key)


def test_the_stem_is_left_plain_unless_asked_for(clean):
    class Stemmed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.fc = nn.Linear(4, 10)

        def forward(self, x):
            return self.fc(self.layers(self.bn1(self.conv1(x)).relu()).mean((2, 3)))

    model = Stemmed().eval()
    assert list(NFT(steps=1, batch=4)(model, clean, context(model)).masks) == ["layers.1"]
    assert list(NFT(steps=1, batch=4, mask_stem=True)(model, clean, context(model)).masks) == ["bn1", "layers.1"]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"batch": 1}, {"alpha": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument):
        NFT(**settings)
