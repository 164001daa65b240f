"""PointNet++ with single-scale grouping (SSG), of any width.

Source: Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space" (2017). Of the
points within a ball ours takes the nearest, where the paper takes any. The 512 and 128 centres of its 1,024 points are
a half and an eighth of all points here.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from detrojan.models._points import farthest, taken, within


class SetAbstraction(nn.Module):
    """Centres far from each other, and the features of the neighbourhood of each.

    Args:
        share: of the points become centres.
        radius: of a neighbourhood, in clouds within the unit sphere.
        neighbours: the number of points in it.
        channels: of the layers on each point; the first are those that come in.
    """

    def __init__(self, share: float, radius: float, neighbours: int, *channels: int) -> None:
        super().__init__()
        self.share, self.radius, self.neighbours = share, radius, neighbours
        self.layers = _layers(channels[0] + 3, *channels[1:])

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map points (B, P, 3) and their features (B, P, C) to the centres (B, Q, 3) and theirs."""
        centres = taken(points, farthest(points, max(1, round(self.share * points.shape[1]))))
        places = within(centres, points, self.radius, self.neighbours)
        near = taken(points, places) - centres[:, :, None]
        if features is not None:
            near = torch.cat([near, taken(features, places).to(near.dtype)], -1)
        return centres, self.layers(near.permute(0, 3, 1, 2)).max(3).values.transpose(1, 2)


class PointNet2(nn.Module):
    """Two set abstractions, a third over all that is left, three linear layers."""

    def __init__(self, width: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        self.first = SetAbstraction(1 / 2, 0.2, 32, 0, width, width, 2 * width)
        self.second = SetAbstraction(1 / 4, 0.4, 64, 2 * width, 2 * width, 2 * width, 4 * width)
        self.whole = _layers(4 * width + 3, 4 * width, 8 * width, 16 * width)
        self.head = nn.Sequential(*_step(16 * width, 8 * width), *_step(8 * width, 4 * width))
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map clouds (B, P, 3) in the unit sphere to logits (B, num_classes)."""
        centres, features = self.second(*self.first(x, None))
        whole = torch.cat([centres, features.to(centres.dtype)], -1)
        return self.fc(self.head(self.whole(whole.transpose(1, 2)[:, :, None]).amax((2, 3))))


def pointnet2(width: int = 64, num_classes: int = 10) -> PointNet2:
    """PointNet++ (SSG); `width` 64 is the paper's."""
    return PointNet2(width, num_classes)


def _layers(*channels: int) -> nn.Sequential:
    """The same layers on each place of (B, C, H, W)."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _step(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(0.5)]
