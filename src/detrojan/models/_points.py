"""What networks of point clouds share: nearest points, points within a ball, points far from each other.

Distances are computed in fp32 without gradients; places are (B, ..., K) int64. None of it depends on the order of the
points, but for ties.
"""

import torch
from torch import Tensor


def taken(features: Tensor, places: Tensor) -> Tensor:
    """The features (B, P, C) at `places` (B, ...), as (B, ..., C)."""
    first = torch.arange(len(features), device=features.device) * features.shape[1]
    rows = places + first.view(-1, *[1] * (places.ndim - 1))
    return features.flatten(0, 1).index_select(0, rows.flatten()).view(*places.shape, features.shape[2])


@torch.no_grad()
def nearest(queries: Tensor, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and places (B, Q, K) of the nearest of `points` (B, P, C) to each of `queries` (B, Q, C)."""
    found = torch.cdist(queries.float(), points.float()).topk(min(count, points.shape[1]), largest=False)
    return found.values, found.indices


@torch.no_grad()
def within(queries: Tensor, points: Tensor, radius: float, count: int) -> Tensor:
    """Places (B, Q, K) of the nearest points that lie within a radius; missing ones repeat the nearest."""
    distances, places = nearest(queries, points, count)
    return torch.where(distances <= radius, places, places[..., :1])


@torch.no_grad()
def farthest(points: Tensor, count: int) -> Tensor:
    """Places (B, K) of points (B, P, 3) by farthest point sampling.

    The first is the point farthest from the mean, each next one the point farthest from all those before it.
    """
    points = points.float()
    chosen = [(points - points.mean(1, keepdim=True)).square().sum(-1).argmax(1)]
    distances = torch.full(points.shape[:2], torch.inf, device=points.device)
    for _ in range(min(count, points.shape[1]) - 1):
        last = taken(points, chosen[-1][:, None])
        distances = torch.minimum(distances, (points - last).square().sum(-1))
        chosen.append(distances.argmax(1))
    return torch.stack(chosen, 1)
