"""DGCNN: convolutions over the edges to the nearest points, found anew in each layer's features, of any width.

Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds" (2019).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from detrojan.models._points import nearest, taken


class EdgeConv(nn.Module):
    """Each point's largest response to its edges (x_j - x_i, x_i) to the `neighbours` nearest, itself among them."""

    def __init__(self, channels: int, out_channels: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.conv = nn.Conv2d(2 * channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, P, C) to (B, P, out_channels)."""
        near = taken(x, nearest(x, x, self.neighbours)[1])
        own = x[:, :, None].expand_as(near)
        edges = torch.cat([near - own, own], -1).permute(0, 3, 1, 2)  # channels-last in memory
        return self.act(self.bn(self.conv(edges))).max(3).values.transpose(1, 2)


class DGCNN(nn.Module):
    """Four edge convolutions, one layer on all they gave, the maximum and the mean over the points, a head."""

    def __init__(self, width: int = 64, num_classes: int = 10, neighbours: int = 20) -> None:
        super().__init__()
        widths = (3, width, width, 2 * width, 4 * width)
        self.edges = nn.ModuleList(EdgeConv(a, b, neighbours) for a, b in pairwise(widths))
        self.join = nn.Sequential(
            nn.Conv1d(8 * width, 16 * width, 1, bias=False), nn.BatchNorm1d(16 * width), nn.LeakyReLU(0.2)
        )
        self.head = nn.Sequential(*_step(32 * width, 8 * width), *_step(8 * width, 4 * width))
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map clouds (B, P, 3) to logits (B, num_classes)."""
        found = []
        for layer in self.edges:
            x = layer(x)
            found.append(x)
        joined = self.join(torch.cat(found, -1).transpose(1, 2))
        return self.fc(self.head(torch.cat([joined.max(2).values, joined.mean(2)], 1)))


def dgcnn(width: int = 64, num_classes: int = 10, neighbours: int = 20) -> DGCNN:
    """DGCNN; `width` 64 and 20 neighbours (of 1,024 points) are the paper's."""
    return DGCNN(width, num_classes, neighbours)


def _step(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.LeakyReLU(0.2), nn.Dropout(0.5)]
