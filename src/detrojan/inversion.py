"""Trigger inversion from clean samples: a small patch for a class, and which classes have one that is oddly small.

Source: Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks" (S&P 2019).
"""

from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.functional import constant
from detrojan.perturbations import limits
from detrojan.tuning import Context, tune

BETAS = (0.5, 0.9)
HELD = 5
"""Passes on one side of the wanted success, after which the price changes."""


@dataclass(slots=True, kw_only=True)
class Patch:
    """A patch under inversion, the price of its size, and the smallest one so far that reaches its class.

    `raw_mask` (H, W) and `raw_pattern` (C, H, W) become shares by tanh / 2 + 1 / 2; `low` and `high` are the range of
    the pixels; `above`, `below` and `idle` count passes; `last` is the last loss; `best` the best raw mask and pattern.
    """

    raw_mask: Tensor
    raw_pattern: Tensor
    low: float
    high: float
    price: float
    above: int = 0
    below: int = 0
    idle: int = 0
    last: float = 0.0
    best: tuple[Tensor, Tensor] | None = field(default=None)

    @classmethod
    def of(cls, clean: Samples, context: Context, *, price: float, seed: str) -> "Patch":
        """A random patch for samples such as these."""
        device, shape = context.execution.device, clean.inputs.shape[1:]
        generator = context.seeds.generator(seed, device)
        mask, pattern = (torch.randn(s, generator=generator, device=device) for s in (shape[1:], shape))
        low, high = limits(clean)
        return cls(
            raw_mask=mask.requires_grad_(), raw_pattern=pattern.requires_grad_(), low=low, high=high, price=price
        )

    def mask(self) -> Tensor:
        """(H, W), in (0, 1)."""
        return self.raw_mask.tanh() / 2 + 0.5

    def stamp(self, pixels: Tensor) -> Tensor:
        """Lay the pattern over pixels (B, C, H, W) where the mask says so."""
        pattern = self.low + (self.high - self.low) * (self.raw_pattern.tanh() / 2 + 0.5)
        return torch.lerp(pixels, pattern.expand_as(pixels), self.mask().expand_as(pixels))

    def judge(self, reached: float, wanted: float, price: float) -> int:
        """After a pass: keep the smallest mask that reaches its class, set the price; passes in vain."""
        enough = reached >= wanted
        smaller = self.best is None or self.mask().sum() < (self.best[0].tanh() / 2 + 0.5).sum()
        self.idle += 1
        if enough and smaller:
            self.best, self.idle = (self.raw_mask.detach().clone(), self.raw_pattern.detach().clone()), 0
        self.above, self.below = (self.above + 1, 0) if enough else (0, self.below + 1)
        if self.above > HELD:
            self.price, self.above = max(self.price, price) * 2, 0
        elif self.below > HELD:
            self.price, self.below = self.price / 2**1.5, 0
        return self.idle if self.best is not None else 0

    def settle(self, loss: float) -> None:
        """Become the smallest mask that did what it should, where there was one."""
        self.last = loss
        if self.best is not None:
            self.raw_mask, self.raw_pattern = self.best


def invert(
    network: nn.Module,
    label: int,
    clean: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    success: float,
    price: float,
    patience: int,
) -> Patch:
    """The smallest patch found that sends samples to a class; the network is used in the mode that it is in.

    Args:
        network: stays as it is.
        label: the class.
        clean: samples, whose labels are not read.
        context: see there.
        steps: of Adam at most.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam.
        success: the share of samples that the patch must send there; the price of its size follows.
        price: of the mask's sum, at first.
        patience: the search ends after so many passes without a smaller mask.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    patch = Patch.of(clean, context, price=price, seed=f"patch of class {label}")
    still, epoch, reached = constant(network), ceil(len(clean) / batch), list[float]()

    def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        pixels = pixels_of(context.task.augment(inputs, generator))
        scores = context.task.logits(context.forward(still, context.preprocessing(patch.stamp(pixels))))
        reached.append(float((scores.argmax(1) == label).float().mean()))
        return F.cross_entropy(scores, torch.full_like(labels, label)) + patch.price * patch.mask().sum()

    def stop(step: int) -> bool:
        if step % epoch:
            return False
        return patch.judge(sum(reached[-epoch:]) / epoch, success, price) >= patience

    losses = tune(
        objective,
        torch.optim.Adam([patch.raw_mask, patch.raw_pattern], learning_rate, betas=BETAS),
        clean,
        context,
        steps=steps,
        batch=batch,
        stage=f"inverting class {label}",
        stop=stop,
    )
    patch.settle(losses[-1])
    return patch


def flags(sizes: Tensor, bar: float) -> list[int]:
    """The classes whose size lies more than `bar` scaled median absolute deviations under the median."""
    middle = sizes.median()
    spread = 1.4826 * (sizes - middle).abs().median().clamp_min(1e-12)
    return ((middle - sizes) / spread > bar).nonzero().flatten().tolist()
