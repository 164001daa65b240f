"""ResNet for small images, of any width: torchvision's blocks behind a 3x3 stem that keeps the resolution.

Source: He et al., "Deep Residual Learning for Image Recognition" (2016). The layers are named as in torchvision's
`ResNet`, which is what `torchvision:resnet18` gives for large images.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class ResNet(nn.Module):
    """Four stages of residual blocks, of `width` to 8 `width` channels (times the block's expansion), a linear head."""

    def __init__(self, block: Any, depths: tuple[int, ...], width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels, stages = width, []
        for stage, depth in enumerate(depths):
            blocks, planes = [], width * 2**stage
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                changes = stride != 1 or channels != planes * block.expansion
                shortcut = _projection(channels, planes * block.expansion, stride) if changes else None
                blocks.append(block(channels, planes, stride, shortcut))
                channels = planes * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, num_classes)."""
        h = F.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            h = stage(h)
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits


def resnet18(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-18 for small images; `width` 64 is the paper's."""
    from torchvision.models.resnet import BasicBlock

    return ResNet(BasicBlock, (2, 2, 2, 2), width, num_classes, in_channels)


def resnet34(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-34 for small images."""
    from torchvision.models.resnet import BasicBlock

    return ResNet(BasicBlock, (3, 4, 6, 3), width, num_classes, in_channels)


def resnet50(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-50 for small images, whose blocks end in four times as many channels."""
    from torchvision.models.resnet import Bottleneck

    return ResNet(Bottleneck, (3, 4, 6, 3), width, num_classes, in_channels)


def _projection(channels: int, wanted: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, wanted, 1, stride, bias=False), nn.BatchNorm2d(wanted))
