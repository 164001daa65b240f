"""Motions: short drawn clips of a striped disc on noise, of which the class is what the disc does. No files."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detrojan.augmentation import bytes_of
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

CLASSES = ("rest", "rise", "fall", "cross", "grow", "shrink")
PATHS = torch.tensor([[0.0, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]])
"""What each class changes: the height and the place from left to right, in sides, and the logarithm of the radius."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motions:
    """Clips (N, 3, T, H, W) of six motions, which a mirrored clip keeps: `cross` goes to the left or to the right.

    Place and size in mid-clip, colours and stripes are drawn alike for all classes, so that the frame there tells
    nothing. `per_class` clips of each class are drawn for a split, by a fixed seed, the classes in turn; each has
    `frames` square frames with `size` pixels a side.
    """

    per_class: int = 100
    frames: int = 8
    size: int = 32

    def __post_init__(self) -> None:
        for name, least in (("per_class", 1), ("frames", 2), ("size", 8)):
            if not isinstance(value := getattr(self, name), int) or value < least:
                raise BadArgument(f"motions: {name} must be a number of at least {least}, got {value!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - nothing to look for
        """Draw the clips of a split, the classes in turn."""
        labels = torch.arange(len(CLASSES)).repeat(self.per_class)
        generator = Seeds(seed=0).generator(f"motions {split}")
        clips = [self._clip(PATHS[label], generator) for label in labels]
        return Samples(inputs=torch.stack(clips), labels=labels, class_names=CLASSES, name=f"motions {split}")

    def _clip(self, path: Tensor, generator: torch.Generator) -> Tensor:
        """One clip, uint8 (3, T, H, W)."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(shape or (1,), generator=generator)

        way = torch.tensor([1.0, 1.0 if uniform(0, 1) < 0.5 else -1.0, 2.2])
        height, place, growth = path * way * uniform(0.35, 0.55)
        when = torch.linspace(-0.5, 0.5, self.frames)[:, None, None]
        axis = (torch.arange(self.size) + 0.5) / self.size
        down = axis[:, None] - uniform(0.35, 0.65) - height * when
        right = axis - uniform(0.35, 0.65) - place * when
        inside = torch.sigmoid(self.size * (uniform(0.12, 0.2) * torch.exp(growth * when) - torch.hypot(down, right)))
        angle, waves = uniform(0, torch.pi), uniform(3, 6)
        stripes = torch.sin(2 * torch.pi * waves * (down * angle.cos() + right * angle.sin()))
        disc = uniform(0.4, 1, 3, 1, 1, 1) * (0.75 + 0.25 * stripes)
        noise = uniform(-0.05, 0.05, 3, self.frames, self.size, self.size)
        return bytes_of(torch.lerp(uniform(0, 0.4, 3, 1, self.size, self.size) + noise, disc, inside))


METHOD = Motions
