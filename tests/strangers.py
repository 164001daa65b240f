"""Architectures of backdoored models that others published, for `--arch tests/strangers.py:vgg_small`.

Written from the shapes and the description of the published weights, not from their authors' code.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F


def _stage(channels_in: int, channels: int, dropout: float) -> list[nn.Module]:
    """Convolution, norm and ELU twice, then half the size."""
    return [
        *(nn.Conv2d(channels_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ELU()),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ELU()),
        *(nn.MaxPool2d(2), nn.Dropout(dropout)),
    ]


class VGGSmall(nn.Module):
    """Six convolutions of 32, 64 and 128 channels and a linear classifier, for 32x32 images in [0, 1]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_stage(3, 32, 0.3), *_stage(32, 64, 0.4), *_stage(64, 128, 0.4))
        self.classifier = nn.Linear(128 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class WideBlock(nn.Module):
    """Norm-ReLU-convolution twice, plus the input, or its 1x1 convolution where the width changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        if channels_in != channels:
            self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(x))
        shortcut = self.convShortcut(h) if hasattr(self, "convShortcut") else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(h))))


class WideResNet(nn.Module):
    """WRN-16-1: three stages of two blocks, of 16, 32 and 64 channels, for 32x32 images in [0, 1]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = (
            nn.Sequential(OrderedDict(layer=nn.Sequential(WideBlock(i, o, stride), WideBlock(o, o, 1))))
            for i, o, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.avg_pool2d(F.relu(self.bn1(h)), 8).flatten(1))


def vgg_small(num_classes: int = 10) -> VGGSmall:
    """VGG-small, 44 tensors."""
    return VGGSmall(num_classes)


def wrn16_1(num_classes: int = 10) -> WideResNet:
    """WRN-16-1, 82 tensors."""
    return WideResNet(num_classes)
