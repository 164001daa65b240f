"""3D ResNet and R(2+1)D for small clips, of any width: torchvision's blocks behind a 3x3x3 stem that halves the sides.

Source: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (2018). The layers are named
as in torchvision's `VideoResNet`, which is what `torchvision:r3d_18` gives for clips of 112 pixels.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class VideoResNet(nn.Module):
    """Four stages of residual blocks, of `width` to 8 `width` channels, a linear head.

    The stem halves the frames' sides; each stage after the first halves them again, and the number of frames, too.
    """

    def __init__(
        self, convolution: Any, depths: tuple[int, ...], width: int, num_classes: int, in_channels: int
    ) -> None:
        from torchvision.models.video.resnet import BasicBlock

        super().__init__()
        entry = nn.Conv3d(in_channels, width, 3, (1, 2, 2), 1, bias=False)
        self.stem = nn.Sequential(entry, nn.BatchNorm3d(width), nn.ReLU())
        channels, stages = width, []
        for stage, depth in enumerate(depths):
            blocks, planes = [], width * 2**stage
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                shortcut = _projection(channels, planes, stride) if stride > 1 else None
                blocks.append(BasicBlock(channels, planes, convolution, stride, shortcut))
                channels = planes
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map clips (B, in_channels, T, H, W) to logits (B, num_classes)."""
        h = self.stem(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            h = stage(h)
        logits: Tensor = self.fc(F.adaptive_avg_pool3d(h, 1).flatten(1))
        return logits


def r3d10(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VideoResNet:
    """R3D with one block a stage; `width` 8 trains within minutes on a processor."""
    from torchvision.models.video.resnet import Conv3DSimple

    return VideoResNet(Conv3DSimple, (1, 1, 1, 1), width, num_classes, in_channels)


def r3d18(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VideoResNet:
    """R3D with two blocks a stage; `width` 64 is the paper's."""
    from torchvision.models.video.resnet import Conv3DSimple

    return VideoResNet(Conv3DSimple, (2, 2, 2, 2), width, num_classes, in_channels)


def r2plus1d10(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VideoResNet:
    """R(2+1)D with one block a stage: each convolution is one in space, then one in time."""
    from torchvision.models.video.resnet import Conv2Plus1D

    return VideoResNet(Conv2Plus1D, (1, 1, 1, 1), width, num_classes, in_channels)


def r2plus1d18(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VideoResNet:
    """R(2+1)D with two blocks a stage; `width` 64 is the paper's."""
    from torchvision.models.video.resnet import Conv2Plus1D

    return VideoResNet(Conv2Plus1D, (2, 2, 2, 2), width, num_classes, in_channels)


def _projection(channels: int, wanted: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(channels, wanted, 1, stride, bias=False), nn.BatchNorm3d(wanted))
