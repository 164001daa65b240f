"""VGG with batch norm for small images, of any width: torchvision's convolutions, one pooling, one linear layer.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015). The head of the paper, three linear layers
for 224 pixels, gives way to a mean over what is left of the image, as is usual for 32 pixels.
"""

from torch import nn


class VGG(nn.Sequential):
    """`features` halve the image five times, from `width` to 8 `width` channels; `classifier` reads their mean."""

    def __init__(self, plan: str, width: int, num_classes: int, in_channels: int) -> None:
        from torchvision.models.vgg import cfgs, make_layers

        widths = [entry if entry == "M" else entry * width // 64 for entry in cfgs[plan]]
        features = make_layers(widths, batch_norm=True)
        features[0] = nn.Conv2d(in_channels, width, 3, padding=1)
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(widths[-2], num_classes)


def vgg16_bn(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VGG:
    """VGG-16 with batch norm for images of at least 32 pixels; `width` 64 is the paper's."""
    return VGG("D", width, num_classes, in_channels)


def vgg19_bn(width: int = 64, num_classes: int = 10, in_channels: int = 3) -> VGG:
    """VGG-19 with batch norm for images of at least 32 pixels."""
    return VGG("E", width, num_classes, in_channels)
