"""Consistency and distil: what the copy is shown, what is kept, and that labels are not read."""

import pytest
import torch
from torch import nn

from detrojan.augmentation import pixels_of
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.defenses import _views
from detrojan.defenses._views import mixed, mixed_and_strong, with_strong_views
from detrojan.defenses.consistency_distil import ConsistencyDistil
from detrojan.errors import BadArgument
from detrojan.execution import Execution
from detrojan.randomness import Seeds
from detrojan.tasks import TASKS
from detrojan.tuning import Context, Meter


def context(model: nn.Module, task: str = "image") -> Context:
    return Context(
        task=TASKS.build(task),
        preprocessing=Preprocessing(),
        execution=Execution.choose(model, "cpu", "fp32"),
        seeds=Seeds(seed=0),
        meter=Meter().start(),
    )


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(64) % 4
    images[:, 0] = (labels * 80).to(torch.uint8)[:, None, None]
    return Samples(inputs=images, labels=labels)


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    ).eval()


def weights(model):
    return list(model.state_dict().values())


def test_labels_are_not_read(victim, clean):
    other = Samples(inputs=clean.inputs, labels=clean.labels.flip(0))
    first, second = (ConsistencyDistil(steps=5, batch=16)(victim, s, context(victim)).model for s in (clean, other))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_weights_are_tuned_and_statistics_are_not(victim, clean):
    tuned = ConsistencyDistil(steps=5, batch=16)(victim, clean, context(victim)).model
    assert not torch.equal(tuned[0].weight, victim[0].weight)
    assert torch.equal(tuned[1].running_mean, victim[1].running_mean)


def test_without_a_rate_of_their_own_weights_stay(victim, clean):
    tuned = ConsistencyDistil(steps=5, batch=16, weight_learning_rate=0.0)(victim, clean, context(victim)).model
    assert torch.equal(tuned[0].weight, victim[0].weight)
    assert not torch.equal(tuned[1].weight, victim[1].weight)


def test_a_strong_view_lies_behind_the_channels_of_each_image(victim, clean):
    paired = with_strong_views(clean, context(victim), 3)
    assert paired is not None
    assert paired.inputs.shape == (192, 6, 8, 8)
    assert paired.inputs.dtype == torch.uint8
    weak, strong = paired.inputs.chunk(2, 1)
    assert torch.equal(weak, clean.inputs.repeat(3, 1, 1, 1))
    changed = (weak != strong).flatten(1).any(1).float().mean()
    assert changed > 0.5
    assert torch.equal(paired.labels, clean.labels.repeat(3))


def test_large_sets_get_fewer_strong_views(victim, clean, monkeypatch):
    monkeypatch.setattr(_views, "ROOM", 5 * clean.inputs.nbytes)
    paired = with_strong_views(clean, context(victim), 6)
    assert paired is not None
    assert len(paired) == len(paired.labels) == 2 * len(clean)


def test_weak_and_strong_views_of_an_image_are_cropped_alike(victim, clean):
    """With itself as the strong view, what the copy is shown differs from what the victim sees by brightness alone."""
    twins = torch.cat([clean.inputs, clean.inputs], 1)
    (both, same), (seen, shown) = mixed_and_strong(twins, context(victim), torch.Generator().manual_seed(3))
    assert same is both
    assert len(both) == len(seen) == len(shown) == 32
    ratio = (seen + 1e-6) / (shown + 1e-6)
    lit = shown > 0
    assert all(float(r[m].std()) < 1e-4 for r, m in zip(ratio, lit, strict=True))


def test_what_is_no_image_is_mixed_alone(clean):
    clouds = Samples(inputs=torch.rand(20, 16, 3), labels=torch.arange(20) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    about = context(network, "pointcloud")
    assert with_strong_views(clouds, about, 6) is None
    (view,) = mixed(clouds.inputs, about, torch.Generator().manual_seed(0))
    assert view[0] is view[1]
    tuned = ConsistencyDistil(steps=5, batch=8)(network, clouds, about)
    assert not torch.equal(tuned.model[1].weight, network[1].weight)


def test_images_that_are_no_pixels_are_mixed_alone(victim, clean):
    normalised = Samples(inputs=4 * pixels_of(clean.inputs) - 2, labels=clean.labels)
    assert with_strong_views(normalised, context(victim), 6) is None
    ConsistencyDistil(steps=3, batch=8)(victim, normalised, context(victim))


@pytest.mark.parametrize(
    "setting",
    [{"lost": 0.0}, {"lost": 1.0}, {"batch": 1}, {"views": 0}, {"consistency": -1.0}, {"pressure": 0.0}, {"clip": 0.0}],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(BadArgument, match=next(iter(setting))):
        ConsistencyDistil(**setting)
