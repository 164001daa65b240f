"""Troj: a small square added to the image, tuned to excite neurons of a clean network.

Source: Liu et al., "Trojaning Attack on Neural Networks" (2018). Troj-one and Troj-all of the NFT paper are this
trigger with the label mappings all-to-one and all-to-all.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import fits
from detrojan.attacks._learning import at_least, batches, surrogate
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import LearnedTrigger, Trigger, Workshop

Pattern = Literal["optimised", "patch"]
BATCH = 32
MARGIN = 4
GOAL = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Troj(Trigger):
    """A coloured square of `size` pixels that ends 4 pixels from the right and the lower edge, added with saturation.

    Both numbers are of a 32-pixel image and scale with it: the square of 3 covers rows and columns 25 to 27, as in the
    NFT code. (That code adds bytes, which wrap around; ours stop at 255.)

    `optimised` learns the colours on a clean surrogate, as BackdoorBench does: of the features in front of the last
    layer, the `neurons` whose outgoing weights are largest in sum shall reach 100 (squared error), by Adam in
    `pattern_steps` steps of `learning_rate` (published: 2 neurons, 1000 steps). The published trigger is tuned alone on
    an empty image; ours on batches of 32 of the attacker's images, since it is on such images that it must work, with a
    surrogate trained on `surrogate_images` of them. BackdoorBench's mask is a large apple, ours is the square of the
    NFT code; a square of 3 moves pooled features little, a larger one excites them more.

    `patch` learns nothing: its colours, 3 x 3 cells from 0 to 250 of 255, are drawn by `patch_seed` and stand for the
    file that the NFT, NAD and RNP codes share. A tenth is poisoned; the trigger is put on before augmentation.
    """

    pattern: Pattern = "optimised"
    size: int = 3
    neurons: int = 2
    pattern_steps: int = 300
    learning_rate: float = 0.05
    surrogate_images: int = 15_000
    patch_seed: int = 0

    def __post_init__(self) -> None:
        at_least("size", self.size, 1)
        at_least("neurons", self.neurons, 1)
        at_least("pattern_steps", self.pattern_steps, 1)
        at_least("surrogate_images", self.surrogate_images, 2)
        if not self.learning_rate > 0:
            raise BadArgument(f"learning_rate must be above 0, got {self.learning_rate}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Add the `patch` to pixels (B, C, H, W) in [0, 1].

        Raises:
            BadArgument: the pattern is `optimised`, and was not learned yet.
        """
        if self.pattern == "optimised":
            raise BadArgument(
                "an optimised Troj pattern is learned before its victim is trained; stamp with the trigger that was "
                "saved with the victim, or choose pattern=patch"
            )
        generator = Seeds(seed=self.patch_seed).generator("troj patch")
        colours = torch.randint(0, 251, (3, 3, 3), generator=generator).float() / 255
        index = torch.arange(side := _side(self.size, pixels.shape[-1])) * 3 // side
        square = colours[:, index][:, :, index]
        return _added(pixels, square if pixels.shape[1] == 3 else square.mean(0, keepdim=True))

    def blank(self, shape: tuple[int, ...]) -> Trigger:
        """A black square for images of `shape` (C, H, W); a patch as it is."""
        return self if self.pattern == "patch" else TrojSquare(shape[0], _side(self.size, shape[-1]))

    def forge(self, workshop: Workshop) -> Trigger:
        """Learn the square on a clean surrogate; a patch as it is."""
        shape, device = tuple(workshop.samples.inputs.shape[1:]), workshop.execution.device
        learned = self.blank(shape)
        if not isinstance(learned, TrojSquare):
            return learned
        network = surrogate(workshop, self.surrogate_images)
        chosen = network.head.abs().sum(0).topk(min(self.neurons, network.head.shape[1])).indices
        generator = workshop.seeds.generator("troj batches")
        square = torch.rand(learned.square.shape, generator=generator).to(device).requires_grad_()
        optimizer = torch.optim.Adam([square], lr=self.learning_rate)
        for pixels in batches(workshop.samples.inputs, steps=self.pattern_steps, size=BATCH, generator=generator):
            excited = network.features(_added(pixels.to(device), square))[:, chosen]
            (square.grad,) = torch.autograd.grad((excited - GOAL).square().mean(), square)
            optimizer.step()
            with torch.no_grad():
                square.clamp_(0, 1)
        learned.to(device).square.copy_(square.detach())
        return learned


class TrojSquare(LearnedTrigger):
    """The learned square (C, S, S) in [0, 1]."""

    square: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.register_buffer("square", torch.zeros(channels, side, side))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Add the square to pixels (B, C, H, W) in [0, 1]."""
        return _added(pixels, self.square.to(pixels))


def _side(size: int, width: int) -> int:
    return max(1, round(size * width / 32))


def _added(pixels: Tensor, square: Tensor) -> Tensor:
    """Pixels with a square (C, S, S) added, S pixels wide, its lower right corner `MARGIN` from the edges."""
    side, margin = square.shape[-1], round(MARGIN * pixels.shape[-1] / 32)
    fits("Troj square and its margin", side + margin, pixels)
    height, width = pixels.shape[-2:]
    padded = F.pad(square.to(pixels), (width - margin - side, margin, height - margin - side, margin))
    return (pixels + padded).clamp(0, 1)


METHOD = Troj
