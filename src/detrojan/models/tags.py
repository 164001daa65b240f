"""Networks for many tags: a ResNet with a linear head, and one with an ML-Decoder's.

Source: Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head" (WACV 2023).
"""

from math import ceil

import torch
from torch import Tensor, nn

from detrojan.models.resnet import resnet18


class MLDecoder(nn.Module):
    """Fixed queries, one for each group of tags, look at the places of a feature map; each group has a linear layer.

    There is no self-attention among the queries, as in the paper.
    """

    queries: Tensor

    def __init__(self, channels: int, num_classes: int, *, width: int, groups: int, heads: int) -> None:
        super().__init__()
        groups = min(groups, num_classes)
        self.num_classes = num_classes
        self.register_buffer("queries", torch.randn(groups, width))
        self.embed = nn.Linear(channels, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.after_attention, self.after_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.fc = nn.Conv1d(groups * width, groups * ceil(num_classes / groups), 1, groups=groups)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, H, W) to scores (B, num_classes)."""
        places = self.embed(features.flatten(2).transpose(1, 2)).relu()
        queries = self.queries.expand(len(features), -1, -1)
        seen = self.after_attention(queries + self.attention(queries, places, places, need_weights=False)[0])
        seen = self.after_feedforward(seen + self.feedforward(seen))
        scores: Tensor = self.fc(seen.flatten(1)[..., None]).flatten(1)
        return scores[:, : self.num_classes]


class WithMLDecoder(nn.Sequential):
    """A body and an `MLDecoder` behind it; it names the layer that makes the scores, as the networks of timm do."""

    def get_classifier(self) -> nn.Module:
        """The layer that makes the scores, which is no linear one here."""
        decoder = self[-1]
        assert isinstance(decoder, MLDecoder)
        return decoder.fc


def tags_resnet18(width: int = 64, num_classes: int = 20, in_channels: int = 3) -> nn.Sequential:
    """A ResNet-18 for photographs, of any width, with a linear head; sides from 32 pixels."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, num_classes))
    return nn.Sequential(_body(width, in_channels), head)


def tags_ml_decoder(width: int = 64, num_classes: int = 20, in_channels: int = 3, groups: int = 100) -> WithMLDecoder:
    """The same network with an ML-Decoder's head, whose width is that of the ResNet's last stage."""
    head = MLDecoder(8 * width, num_classes, width=8 * width, groups=groups, heads=4)
    return WithMLDecoder(_body(width, in_channels), head)


def _body(width: int, in_channels: int) -> nn.Sequential:
    stages = resnet18(width, 1, in_channels)
    stem = (nn.Conv2d(in_channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, stages.layer1, stages.layer2, stages.layer3, stages.layer4)
