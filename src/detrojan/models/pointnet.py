"""PointNet with transforms of its input and of its features, of any width.

Source: Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation" (2017). The paper adds
0.001 times the squared distance of the feature transform from an orthogonal matrix to the loss; ours is trained by the
plain loss.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class TNet(nn.Module):
    """A small PointNet that gives each cloud a square matrix, the identity at first."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.points = _points(channels, width, 2 * width, 16 * width)
        self.head = _head(16 * width, 8 * width, 4 * width)
        self.matrix = nn.Linear(4 * width, channels * channels)
        nn.init.zeros_(self.matrix.weight)
        nn.init.zeros_(self.matrix.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, P) to the transformed (B, C, P)."""
        steps = self.matrix(self.head(self.points(x).max(2).values)).view(-1, self.channels, self.channels)
        return x + torch.bmm(steps, x)


class PointNet(nn.Module):
    """Layers of `width` to 16 `width` channels on each point, the maximum over the points, three linear layers."""

    def __init__(self, width: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        self.align = TNet(3, width)
        self.early = _points(3, width, width)
        self.align_features = TNet(width, width)
        self.late = _points(width, width, 2 * width, 16 * width)
        self.head = _head(16 * width, 8 * width, 4 * width)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map clouds (B, P, 3) to logits (B, num_classes)."""
        h = self.early(self.align(x.transpose(1, 2)))
        h = self.late(self.align_features(h))
        return self.fc(self.dropout(self.head(h.max(2).values)))


def pointnet(width: int = 64, num_classes: int = 10) -> PointNet:
    """PointNet; `width` 64 is the paper's."""
    return PointNet(width, num_classes)


def _points(*channels: int) -> nn.Sequential:
    """The same layers on each point of (B, C, P)."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _head(*channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)
