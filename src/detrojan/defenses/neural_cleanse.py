"""Neural Cleanse with unlearning: invert a small patch for each class; where one is oddly small, unlearn it.

Needs: labelled clean samples.
Serves: any image network; a class takes `steps` steps.
Source: Wang et al., "Neural Cleanse" (S&P 2019), as BackdoorBench does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.functional import constant
from detrojan.perturbations import limits
from detrojan.tuning import Context, Tuned, falling, sgd, tunable, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuralCleanse:
    """A patch is a mask (H, W) and a pattern (C, H, W). Without a flagged class the victim comes out as it is.

    Args:
        steps: of Adam at most, for each class; eighty passes over 500 samples.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam.
        success: the share of samples that a patch must send to its class; the price of its size follows.
        price: of the mask's sum, at first.
        patience: an inversion ends after so many passes without a smaller mask.
        anomaly: masks whose sum is this many scaled median deviations under the median flag their class.
        unlearning_steps: of SGD, with a flagged patch on a part of the inputs and their true labels.
        unlearning_rate: of SGD, falling by a cosine.
        stamped: that part, as a share.
    """

    steps: int = 320
    batch: int = 128
    learning_rate: float = 0.1
    success: float = 0.98
    price: float = 1e-3
    patience: int = 25
    anomaly: float = 2.0
    unlearning_steps: int = 80
    unlearning_rate: float = 0.01
    stamped: float = 0.2

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("neural_cleanse")
        network = tunable(model, context).eval()
        classes = context.predict(network, clean.subset([0])).shape[1]
        patches = [self._invert(network, label, clean, context) for label in range(classes)]
        sizes = torch.tensor([float(patch.mask().detach().sum()) for patch in patches])
        flagged = flags(sizes, self.anomaly)
        notes: dict[str, float | int | str] = {
            "classes flagged": ", ".join(map(str, flagged)) or "none",
            "smallest mask": round(float(sizes.min()), 2),
            "median mask": round(float(sizes.median()), 2),
        }
        losses = [patch.last for patch in patches]
        if flagged:
            losses += self._unlearn(network, [patches[label] for label in flagged], clean, context)
        return Tuned(model=network, masks={}, losses=tuple(losses), notes=notes)

    def _invert(self, network: nn.Module, label: int, clean: Samples, context: Context) -> "_Patch":
        patch = _Patch.of(clean, context, price=self.price, seed=f"patch of class {label}")
        still, epoch, reached = constant(network), ceil(len(clean) / self.batch), list[float]()

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels = pixels_of(context.task.augment(inputs, generator))
            scores = context.task.logits(context.forward(still, context.preprocessing(patch.stamp(pixels))))
            reached.append(float((scores.argmax(1) == label).float().mean()))
            return F.cross_entropy(scores, torch.full_like(labels, label)) + patch.price * patch.mask().sum()

        def stop(step: int) -> bool:
            if step % epoch:
                return False
            return patch.judge(sum(reached[-epoch:]) / epoch, self.success, self.price) >= self.patience

        losses = tune(
            objective,
            torch.optim.Adam([patch.raw_mask, patch.raw_pattern], self.learning_rate, betas=(0.5, 0.9)),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage=f"Neural Cleanse inverts class {label}",
            stop=stop,
        )
        patch.settle(losses[-1])
        return patch

    def _unlearn(
        self, network: nn.Module, patches: Sequence["_Patch"], clean: Samples, context: Context
    ) -> list[float]:
        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels = pixels_of(context.task.augment(inputs, generator))
            count = round(self.stamped * len(pixels))
            stamped = [
                patch.stamp(part) for patch, part in zip(patches, pixels[:count].chunk(len(patches)), strict=False)
            ]
            mixed = torch.cat([*stamped, pixels[count:]]).detach()
            return context.task.loss(context.forward(network, context.preprocessing(mixed)), labels).mean()

        return tune(
            objective,
            sgd(network.train(), self.unlearning_rate, momentum=0.9, weight_decay=5e-4),
            clean,
            context,
            steps=self.unlearning_steps,
            batch=self.batch,
            stage="Neural Cleanse unlearns",
            learning_rate=falling(self.unlearning_rate, self.unlearning_steps),
        )


def flags(sizes: Tensor, bar: float) -> list[int]:
    """The classes whose size lies more than `bar` scaled median absolute deviations under the median."""
    middle = sizes.median()
    spread = 1.4826 * (sizes - middle).abs().median().clamp_min(1e-12)
    return ((middle - sizes) / spread > bar).nonzero().flatten().tolist()


@dataclass(slots=True, kw_only=True)
class _Patch:
    """A patch under inversion, the price of its size, and the smallest one so far that reaches its class."""

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
    def of(cls, clean: Samples, context: Context, *, price: float, seed: str) -> "_Patch":
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
        if self.above > 5:
            self.price, self.above = max(self.price, price) * 2, 0
        elif self.below > 5:
            self.price, self.below = self.price / 2**1.5, 0
        return self.idle if self.best is not None else 0

    def settle(self, loss: float) -> None:
        """Become the smallest mask that did what it should, where there was one."""
        self.last = loss
        if self.best is not None:
            self.raw_mask, self.raw_pattern = self.best


METHOD = NeuralCleanse
