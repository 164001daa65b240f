"""A small convolutional network for small grey or colour images: the demo's victim, seconds to train on one core."""

from itertools import pairwise

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions of `width` to 4 `width` channels, with norm, ReLU and pooling; a linear head."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 16) -> None:
        super().__init__()
        widths = (in_channels, width, 2 * width, 4 * width)
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            stages += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*stages[:-1])
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W), H and W at least 4, to logits (B, num_classes)."""
        scores: Tensor = self.head(self.features(x).mean((2, 3)))
        return scores


def small_cnn(num_classes: int = 10, in_channels: int = 1, width: int = 16) -> SmallCNN:
    """The network of `detrojan demo`."""
    return SmallCNN(num_classes, in_channels, width)
