"""How a network is trained: the settings, the optimizer and the learning rate that follow from them."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from detrojan.augmentation import crop_and_flip
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle learning rate (linear up for `warmup` of the steps, linear to 0).

    With `adam`, AdamW takes its place (its `momentum` the first beta), as networks of sentences want it.

    `padding` is that of the random crop, in pixels; 0 with `flip` False trains without augmentation. The first
    `small` of the epochs (a share in [0, 1]) see images of three quarters of the side, which costs about half.
    """

    epochs: int = 16
    batch: int = 256
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup: float = 0.2
    padding: int = 2
    flip: bool = True
    small: float = 0.0
    adam: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("padding", 0), ("learning_rate", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= least:
                raise BadArgument(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "warmup", "small"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadArgument(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop and flip of a batch of images (B, C, H, W) or clips (B, C, T, H, W)."""
        return crop_and_flip(images, generator, padding=self.padding, flip=self.flip)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Of all weights of a network."""
        if self.adam:
            betas = (self.momentum, 0.98)
            return torch.optim.AdamW(
                network.parameters(), self.learning_rate, betas=betas, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            network.parameters(),
            self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
        )

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step (from 0) of so many, as a share of the highest."""
        rise = max(1, ceil(self.warmup * total))
        return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))


def can_shrink(samples: Samples) -> bool:
    """Whether a recipe's `small` has a meaning for these samples: images, and no boxes on them."""
    return samples.inputs.ndim == 4 and samples.label_kind != "boxes"
