"""MobileNetV2 for small images: torchvision's network, whose first two halvings of the image are left out.

Source: Sandler et al., "MobileNetV2" (2018); 32 pixels then end as 4, not as 1.
"""

from torch import nn

PLAN = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, number and first stride of the blocks of each stage: the paper's, but for the second stride."""


def mobilenet_v2(width_mult: float = 1.0, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """MobileNetV2 for small images; `width_mult` multiplies the paper's channels, rounded to a multiple of 8."""
    from torchvision.models import MobileNetV2

    network = MobileNetV2(num_classes, width_mult, [list(stage) for stage in PLAN])
    network.features[0][0] = nn.Conv2d(in_channels, network.features[0][0].out_channels, 3, 1, 1, bias=False)
    return network
