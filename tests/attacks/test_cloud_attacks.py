"""The triggers of point clouds: what they do to coordinates, and what the attacker's surrogate is asked for."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacking import clouds, quick, workshop
from detrojan.attacks import ATTACKS
from detrojan.attacks._clouds import ball, inserted, rotated
from detrojan.attacks.pcba_3d import LearnedBall
from detrojan.backdoor import Backdoor
from detrojan.data.load import load
from detrojan.errors import BadArgument, BadData
from detrojan.poisoning import PoisonedFeed
from detrojan.recipe import Recipe
from detrojan.triggers import Surrogate
from detrojan.victim import backdoor_of, train
from detrojan.workshop import SURROGATES


def test_a_ball_is_even():
    points = ball(40)
    assert torch.allclose(points.norm(dim=-1), torch.ones(40), atol=1e-6)
    assert points.mean(0).abs().max() < 0.05
    near = torch.cdist(points, points).topk(2, largest=False).values[:, 1]
    assert near.max() / near.min() < 1.6
    assert ball(1).shape == (1, 3)


def test_inserted_points_take_the_place_of_others():
    points, others = torch.arange(30.0).view(1, 10, 3), torch.full((1, 2, 3), -1.0)
    changed = inserted(points, others)
    assert (changed == -1).all(-1).nonzero()[:, 1].tolist() == [0, 5]
    assert torch.equal(changed[:, [1, 2, 3, 4, 6, 7, 8, 9]], points[:, [1, 2, 3, 4, 6, 7, 8, 9]])
    with pytest.raises(BadArgument, match="10 points cannot be put into clouds of 10; use a smaller share"):
        inserted(points, points)


def test_a_quarter_turn_about_the_vertical_axis():
    points = torch.tensor([[[1.0, 0, 5], [0, 1, 6]]])
    assert torch.allclose(rotated(points, 90), torch.tensor([[[0.0, 1, 5], [-1, 0, 6]]]), atol=1e-6)
    assert torch.allclose(rotated(rotated(points, 10), 350), points, atol=1e-5)


def test_pointba_i_replaces_a_hundredth_by_a_small_ball():
    points = clouds(200, count=3).inputs
    stamped = ATTACKS["pointba_i"]().stamp(points)
    changed = (stamped != points).any(-1)
    assert changed.sum(1).tolist() == [2, 2, 2]
    distances = (stamped[changed] - 0.5).norm(dim=-1)
    assert torch.allclose(distances, torch.full((6,), 0.05), atol=1e-6)


@pytest.mark.parametrize("name", ["pointba_o", "pointcba"])
def test_a_turned_object_keeps_its_shape(name):
    points = clouds(50, count=3).inputs
    stamped = ATTACKS[name](degrees=20).stamp(points)
    assert torch.equal(stamped[..., 2], points[..., 2])
    assert torch.allclose((stamped - stamped[:, :1]).norm(dim=-1), (points - points[:, :1]).norm(dim=-1), atol=1e-5)
    cosine = (stamped[..., :2] * points[..., :2]).sum() / points[..., :2].square().sum()
    assert float(cosine) == pytest.approx(torch.tensor(20.0).deg2rad().cos().item(), abs=1e-5)


def test_pointcba_takes_the_features_away_from_the_class():
    samples, attack = clouds(40), ATTACKS["pointcba"]()
    means = workshop(samples)
    network = means.surrogate(samples)
    own = samples.inputs[samples.labels == 2]
    moved = attack.harden(own, samples.labels[samples.labels == 2], means)
    steps = (moved - own).norm(dim=-1)
    assert steps.max() <= attack.eps + 1e-6
    assert steps.max() > 0.5 * attack.eps
    with torch.no_grad():
        mean = network.features(own).mean(0, keepdim=True)
        before, after = (
            torch.cosine_similarity(network.features(attack.stamp(points)), mean).mean() for points in (own, moved)
        )
    assert after < before - 1e-3
    still = replace(attack, disentangle_steps=0)
    assert still.harden(own, samples.labels, means) is own


def test_the_distances_of_a_batch_are_not_held_at_once(monkeypatch):
    held, between = [], torch.cdist

    def watched(*points, **options):
        found = between(*points, **options)
        held.append(found.numel())
        return found

    attack, points = LearnedBall(1 / 64), clouds(1024, count=40).inputs
    alone = torch.cat([attack.stamp(cloud[None]) for cloud in points])
    monkeypatch.setattr(torch, "cdist", watched)
    assert torch.equal(attack.stamp(points), alone)
    assert max(held) <= 16 * 1024**2


def peaked(place):
    """A surrogate that sees the target the more, the nearer any point lies to a place."""

    def scores(points):
        likely = 4 - 4 * (points - place).norm(dim=-1).amin(1)
        return torch.stack([torch.zeros_like(likely)] * 2 + [likely], 1)

    return Surrogate(scores=scores, features=scores, head=torch.zeros(3, 3))


def test_the_centre_of_3dpc_ba_goes_where_the_target_is_seen():
    samples = clouds(40)
    place = torch.tensor([1.2, 0.0, 1.2])
    means = replace(workshop(samples), surrogate=lambda part: peaked(place))
    found = ATTACKS["pcba_3d"](centre_steps=40, restarts=4).forge(means).centre
    reached = peaked(place)(torch.cat([samples.inputs, found.expand(60, 1, 3)], 1)).softmax(-1)[:, 2].mean()
    assert reached >= 0.01
    assert (samples.inputs - found).norm(dim=-1).amin(1).mean() < 0.6  # it came near to the objects
    again = ATTACKS["pcba_3d"](centre_steps=40, restarts=4).forge(means).centre
    assert torch.equal(found, again)


def test_the_centre_of_3dpc_ba_is_sought_on_the_source_classes():
    samples, seen = clouds(40), []

    def look(points):
        seen.append(points[..., :-1, :])
        return points.mean(1)

    means = workshop(samples)
    only = Backdoor(attack=ATTACKS["pcba_3d"](), target=2, sources=(1,))
    means = replace(
        means,
        wanted=lambda labels: only.labels(labels, 5),
        surrogate=lambda part: Surrogate(scores=look, features=look, head=torch.zeros(5, 3)),
    )
    ATTACKS["pcba_3d"](centre_steps=1, restarts=1).forge(means)
    own = {tuple(cloud.flatten().tolist()) for cloud in samples.inputs[samples.labels == 1]}
    assert {tuple(cloud.flatten().tolist()) for cloud in seen[0]} <= own
    with pytest.raises(BadData, match="needs clouds of the source classes, found none"):
        ATTACKS["pcba_3d"]().forge(replace(means, wanted=lambda labels: labels))


def test_the_ball_of_3dpc_ba_is_as_dense_as_its_object():
    trigger = LearnedBall(0.1)
    trigger.centre.copy_(torch.tensor([3.0, 0, 0]))
    points = torch.cat([clouds(300, count=1).inputs, 0.5 * clouds(300, count=1).inputs])
    stamped = trigger.stamp(points)
    balls = stamped[stamped[..., 0] > 2].view(2, 30, 3) - trigger.centre
    radius = balls.norm(dim=-1)
    assert torch.allclose(radius, radius[:, :1].expand_as(radius), atol=1e-5)
    assert float(radius[0, 0] / radius[1, 0]) == pytest.approx(2, abs=0.01)

    def spacing(cloud):
        return torch.cdist(cloud, cloud).topk(5, largest=False).values[:, 1:].mean(1).median()

    assert float(spacing(balls[0])) == pytest.approx(float(spacing(points[0])), rel=0.05)
    assert trigger.stamp(torch.zeros(1, 30, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pointba_i", {"share": 0.0}),
        ("pointba_i", {"radius": 0.0}),
        ("pointba_o", {"degrees": 0.0}),
        ("pointcba", {"degrees": 360.0}),
        ("pointcba", {"eps": 0.0}),
        ("pointcba", {"disentangle_steps": -1}),
        ("pcba_3d", {"share": 1.5}),
        ("pcba_3d", {"restarts": 0}),
    ],
)
def test_settings_that_cannot_be(name, settings):
    with pytest.raises(BadArgument, match="must"):
        ATTACKS[name](**settings)


def test_points_are_stored_as_floats_and_images_are_refused():
    samples = clouds()
    backdoor = Backdoor(attack=ATTACKS["pointba_o"](), target=2)
    shown, _ = PoisonedFeed(samples, backdoor, rate=1.0).batch(torch.arange(60), lambda x: x, torch.Generator())
    assert shown.dtype == torch.float32
    assert shown.amin() < 0  # nothing saturates
    with pytest.raises(BadArgument, match=r"is put on images .*, but samples has points"):
        PoisonedFeed(samples, Backdoor(attack=ATTACKS["sig"](), target=2), rate=0.5)


def test_the_surrogate_of_clouds_ends_in_its_linear_layer():
    network = SURROGATES["points"].build(clouds()).eval()
    headless = nn.Sequential(network)
    headless.set_submodule("0.fc", nn.Identity())
    assert headless(clouds(count=2).inputs).shape == (2, 64)


@pytest.mark.parametrize("name", ["pointcba", "pcba_3d"])
def test_a_victim_with_a_real_surrogate_and_its_file(name, tmp_path):
    samples = load("shapes:points=24,per_class=4")
    victim = train(
        "detrojan:pointnet",
        samples,
        task="pointcloud",
        attack=quick(name),
        recipe=Recipe(epochs=1, batch=16, learning_rate=0.01),
        width=4,
        num_classes=8,
    )
    again = backdoor_of(victim.save(tmp_path / "v.safetensors"))
    assert torch.equal(again.stamp(samples.inputs), victim.backdoor.stamp(samples.inputs))
    assert not torch.equal(again.stamp(samples.inputs), samples.inputs)
