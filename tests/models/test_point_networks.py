"""Networks of point clouds, and the parts that they share."""

import pytest
import torch
from torch import nn

from detrojan import architectures
from detrojan.models._points import farthest, nearest, taken, within

PUBLISHED = {"pointnet": 3.5, "pointnet2": 1.48, "dgcnn": 1.81}
"""Millions of weights, for the 40 classes of ModelNet40."""


def clouds(count=4, points=48, seed=0):
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed)).mul(0.4)


def narrow(name):
    torch.manual_seed(0)
    return architectures.build(f"detrojan:{name}", width=4, num_classes=7)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_size(name):
    with torch.device("meta"):
        network = architectures.build(f"detrojan:{name}", num_classes=40).eval()
        assert network(torch.empty(2, 1024, 3)).shape == (2, 40)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(
        PUBLISHED[name], rel=0.02
    )
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert network.fc is linear[-1]
    assert network.fc.in_features == 256


@pytest.mark.parametrize("points", [16, 48, 100])
@pytest.mark.parametrize("name", PUBLISHED)
def test_scores_depend_on_the_cloud_and_not_on_the_order_of_its_points(name, points):
    network, batch = narrow(name).train(), clouds(points=points)
    for _ in range(30):  # until the norms know these clouds
        network(batch)
    network.eval()
    with torch.no_grad():
        scores = network(batch)
        shuffled = network(batch[:, torch.randperm(points, generator=torch.Generator().manual_seed(1))])
        alone = torch.cat([network(one[None]) for one in batch])
    assert scores.shape == (4, 7)
    assert scores.std(0).min() > 1e-4
    torch.testing.assert_close(shuffled, scores, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(alone, scores, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gradients_reach_points_and_weights(name):
    network, batch = narrow(name), clouds().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(batch).float().square().sum()
    loss.backward()
    assert batch.grad.isfinite().all()
    assert batch.grad.abs().amax((1, 2)).min() > 0
    untouched = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not untouched


def test_pointnet_starts_with_its_points_as_they_are():
    network, batch = narrow("pointnet").eval(), clouds().transpose(1, 2)
    with torch.no_grad():
        assert torch.equal(network.align(batch), batch)


def test_the_farthest_points():
    line = torch.tensor([[0.0, 1, 2, 3, 10]])[..., None] * torch.tensor([1.0, 0, 0])
    assert farthest(line, 4).tolist() == [[4, 0, 3, 1]]
    assert farthest(line, 9).shape == (1, 5)
    batch = clouds(points=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    assert torch.equal(taken(batch, farthest(batch, 8)), taken(batch[:, order], farthest(batch[:, order], 8)))


def test_the_nearest_points_and_those_within_a_ball():
    line = torch.tensor([[0.0, 1, 3, 6]])[..., None] * torch.tensor([1.0, 0, 0])
    distances, places = nearest(line, line, 2)
    assert places.tolist() == [[[0, 1], [1, 0], [2, 1], [3, 2]]]
    assert distances[..., 1].tolist() == [[1, 1, 2, 3]]
    assert within(line, line, 2.5, 3).tolist() == [[[0, 1, 0], [1, 0, 2], [2, 1, 2], [3, 3, 3]]]
    assert nearest(line, line, 9)[1].shape == (1, 4, 4)


def test_taken_follows_each_cloud():
    features, places = torch.arange(12.0).view(2, 3, 2), torch.tensor([[[0, 2]], [[1, 1]]])
    assert taken(features, places).tolist() == [[[[0, 1], [4, 5]]], [[[8, 9], [8, 9]]]]
    assert taken(features, places[:, 0]).tolist() == [[[0, 1], [4, 5]], [[8, 9], [8, 9]]]


def test_the_shared_parts_are_no_architectures():
    names = architectures.names("detrojan")
    assert {"detrojan:pointnet", "detrojan:pointnet2", "detrojan:dgcnn"} <= set(names)
    assert "detrojan:farthest" not in names
