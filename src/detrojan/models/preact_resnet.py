"""PreActResNet for small images, of any width: the victim network of the backdoor literature.

Source: He et al., "Identity Mappings in Deep Residual Networks" (2016); with the stem for small images.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """Norm-ReLU-conv twice, plus the identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        changes = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        h = F.relu(self.bn1(x))
        residual = x if self.shortcut is None else self.shortcut(h)
        h = self.conv1(h)
        return self.conv2(F.relu(self.bn2(h))) + residual


class PreActResNet(nn.Module):
    """Four stages of pre-activation blocks, of `width` to 8 `width` channels, a last norm, pooling, a linear head."""

    def __init__(
        self, depths: tuple[int, ...] = (2, 2, 2, 2), width: int = 64, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        stages, channels = [], width
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(PreActBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage
            stages.append(nn.Sequential(*blocks))
        self.layers = nn.ModuleList(stages)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, num_classes)."""
        h = self.conv1(x)
        for stage in self.layers:
            h = stage(h)
        return self.fc(F.relu(self.bn(h)).mean((2, 3)))


def preact_resnet18(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> PreActResNet:
    """PreActResNet-18; `width` 64 is the literature's, 16 is the project's small scale."""
    return PreActResNet((2, 2, 2, 2), width, num_classes, in_channels)


def preact_resnet34(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> PreActResNet:
    """PreActResNet-34."""
    return PreActResNet((3, 4, 6, 3), width, num_classes, in_channels)
