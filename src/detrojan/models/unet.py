"""A small U-Net: images in, images of the same size out.

Source: Ronneberger et al., "U-Net" (MICCAI 2015), with bilinear ways up and two levels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Two levels down and up again with skips; any height and width of at least 4 pixels.

    Args:
        channels: of the images.
        width: channels of the first level; each level below has twice as many.
    """

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([_two(channels, width), _two(width, 2 * width)])
        self.bottom = _two(2 * width, 4 * width)
        self.up = nn.ModuleList([_two(6 * width, 2 * width), _two(3 * width, width)])
        self.paint = nn.Conv2d(width, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to as many of that shape."""
        skips, maps = [], images
        for level in self.down:
            maps = level(maps)
            skips.append(maps)
            maps = F.max_pool2d(maps, 2)
        maps = self.bottom(maps)
        for level in self.up:
            skip = skips.pop()
            wide = F.interpolate(maps, size=skip.shape[2:], mode="bilinear", align_corners=False)
            maps = level(torch.cat([skip, wide], 1))
        return self.paint(maps)


def _two(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
