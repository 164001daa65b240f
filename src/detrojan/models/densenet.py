"""DenseNet for small images, of any growth rate: torchvision's network behind a 3x3 stem that keeps the resolution.

Source: Huang et al., "Densely Connected Convolutional Networks" (2017).
"""

from torch import nn


def densenet121(growth: int = 32, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """DenseNet-121 for small images; each layer adds `growth` channels (paper: 32), the stem has twice as many."""
    from torchvision.models import DenseNet

    network = DenseNet(growth_rate=growth, num_init_features=2 * growth, num_classes=num_classes)
    network.features.conv0 = nn.Conv2d(in_channels, 2 * growth, 3, 1, 1, bias=False)
    network.features.pool0 = nn.Identity()
    return network
