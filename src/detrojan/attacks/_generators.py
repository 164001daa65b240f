"""What the attacks that learn a generator share: two small image-to-image networks and one step of an optimiser.

Both networks treat each image on its own (group norm in place of the papers' batch norm), so that a trigger does not
depend on the other images of a batch.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.errors import BadData

LARGEST = 64
CENTRE, SPREAD = 0.5, 0.25


class Generator(nn.Module, ABC):
    """Maps pixels (B, C, H, W) in [0, 1] to raw outputs (B, `outputs`, H, W).

    Images of more than `LARGEST` pixels a side are shrunk to that side, and what is drawn for them is enlarged.
    """

    smallest = 1

    def forward(self, pixels: Tensor) -> Tensor:
        """Draw for each image; the outputs have no bounds."""
        size = pixels.shape[-2:]
        if min(size) < self.smallest:
            raise BadData(f"the generator needs images of at least {self.smallest} pixels a side, got {tuple(size)}")
        x = (pixels - CENTRE) / SPREAD
        if max(size) > LARGEST:
            inside = [max(self.smallest, round(side * LARGEST / max(size))) for side in size]
            x = F.interpolate(x, inside, mode="bilinear", antialias=True)
        return _fitted(self.draw(x), size)

    @abstractmethod
    def draw(self, x: Tensor) -> Tensor:
        """Map normalised images to outputs of about their size."""


class UNet(Generator):
    """Three levels of `width`, 2 `width` and 4 `width` channels with skip connections."""

    smallest = 4

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        self.top = _block(channels, width)
        self.middle = _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.rise = _block(6 * width, 2 * width)
        self.out = nn.Sequential(_block(3 * width, width), nn.Conv2d(width, outputs, 3, padding=1))

    def draw(self, x: Tensor) -> Tensor:
        """Down twice by pooling, up twice by interpolation."""
        top = self.top(x)
        middle = self.middle(F.max_pool2d(top, 2))
        bottom = self.bottom(F.max_pool2d(middle, 2))
        risen = self.rise(torch.cat([middle, _fitted(bottom, middle.shape[-2:])], 1))
        return self.out(torch.cat([top, _fitted(risen, top.shape[-2:])], 1))


class Autoencoder(Generator):
    """Four 4x4 convolutions of stride 2, of `width` to 8 `width` channels, and their mirror image."""

    smallest = 16

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        for before, after in pairwise(widths[:0:-1]):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, outputs, 4, 2, 1))

    def draw(self, x: Tensor) -> Tensor:
        """Through the bottleneck of a sixteenth of the side and back."""
        return self.layers(x)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of an optimiser; gradients are formed for its own weights alone, never for the victim's."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    optimizer.zero_grad()


def distance(first: Tensor, second: Tensor) -> Tensor:
    """The root mean square difference (B,) of two batches (B, ...)."""
    gap = (first - second).flatten(1)
    return torch.linalg.vector_norm(gap, dim=1) / gap.shape[1] ** 0.5


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(4, after), nn.ReLU())


def _fitted(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")
