"""A small patch for each class, sought in one loop for all of them: which class is reached with oddly little, and how.

Source: this project; the loss and a price that follows success after Wang et al., "Neural Cleanse" (S&P 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.functional import constant
from detrojan.perturbations import limits
from detrojan.tuning import Context, tune

CELLS = 64
"""A patch has so many cells a side at most; larger images have cells of several pixels."""
SUCCESS = 0.98
"""The share of images that a patch should send to its class; the price of its size follows."""
PRICE, GAIN = 10.0, 0.3
"""That of a patch as large as the image, at first, and by how much it grows or falls in a step, as a logarithm."""
PATIENCE = 20
"""Steps before prices change."""
LEARNING_RATE, BETAS = 0.1, (0.5, 0.9)
STATES = 4
"""How many states of each patch are kept, of the second half of the search: late ones are smaller."""
FEWEST = 3
"""Among fewer classes none is odd."""
ODD, STEEPNESS = 0.4, 8
"""A patch of this share of the median size is as odd as not; and how steeply oddness falls with the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """What was found: states of patches, which classes they reach, and how large those of the last state are.

    Args:
        masks: opacities in (0, 1), of T states and K classes, (T, K, 1, H, W).
        patterns: pixels, (T, K, C, H, W).
        reached: the share of images that the patch of each class sends there, (K,).
        sizes: the mean opacity of each, a share of the image, (K,).
        names: of the classes, where they are known.
    """

    masks: Tensor
    patterns: Tensor
    reached: Tensor
    sizes: Tensor
    names: Sequence[str] = ()

    def stamp(self, pixels: Tensor, classes: Tensor, generator: Generator) -> Tensor:
        """Lay a patch of its class (B,), in any of its states, over each image (B, C, H, W)."""
        states = torch.randint(len(self.masks), classes.shape, generator=generator, device=generator.device)
        return _laid(self.masks[states, classes], self.patterns[states, classes], pixels)

    @property
    def found(self) -> Tensor:
        """Whether the patch of each class reaches it more often than not, (K,)."""
        return self.reached > 0.5

    @property
    def smallest(self) -> int:
        """The class that is reached with the least."""
        return int(torch.where(self.found, self.sizes, torch.inf).argmin())

    @property
    def oddness(self) -> float:
        """In [0, 1]: near 0 where the smallest patch is like the others, near 1 where it is far smaller."""
        if int(self.found.sum()) < FEWEST:
            return 0.0
        ratio = float(self.sizes[self.smallest]) / self._median
        return 1 / (1 + (ratio / ODD) ** STEEPNESS)

    def notes(self) -> dict[str, float | int | str]:
        """What a reader of the verdict should know."""
        if int(self.found.sum()) < FEWEST:
            return {"smallest patch": "too few classes are reached to tell"}
        name = f" ({self.names[self.smallest]})" if len(self.names) == len(self.sizes) else ""
        least, median = (f"{100 * size:.2f} %" for size in (float(self.sizes[self.smallest]), self._median))
        told = f"to class {self.smallest}{name}, {least} of the pixels; to the median class {median}"
        return {"smallest patch": told, "how odd that is, 0 to 1": round(self.oddness, 2)}

    @property
    def _median(self) -> float:
        return float(self.sizes[self.found].median())


def seek(network: nn.Module, clean: Samples, context: Context, *, steps: int, batch: int) -> Patches:
    """The smallest patch that sends images to each class, for all classes at once.

    Args:
        network: stays as it is, and is used in the mode that it is in.
        clean: images, whose labels are not read.
        context: see there.
        steps: of Adam.
        batch: images a step, drawn with replacement; each class has its share of them.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    search = _Search(network, clean, context, steps)
    optimizer = torch.optim.Adam([search.masks, search.patterns], LEARNING_RATE, betas=BETAS)
    tune(search.loss, optimizer, clean, context, steps=steps, batch=batch, stage="seeking patches", project=search.keep)
    masks, patterns = (torch.stack(states) for states in zip(*search.states[-STATES:], strict=True))
    sizes = masks[-1].mean((1, 2, 3))
    return Patches(
        masks=masks.cpu(),
        patterns=patterns.cpu(),
        reached=search.reached.cpu(),
        sizes=sizes.cpu(),
        names=clean.class_names,
    )


def _laid(masks: Tensor, patterns: Tensor, pixels: Tensor) -> Tensor:
    """Patterns (B, C, h, w) over images (B, C, H, W), as far as masks (B, 1, h, w) say."""
    opacity, pattern = (F.interpolate(each, pixels.shape[2:]) for each in (masks, patterns))
    return torch.lerp(pixels, pattern, opacity.expand_as(pixels))


class _Search:
    """Patches under way, as arguments of tanh, with the price of each."""

    def __init__(self, network: nn.Module, clean: Samples, context: Context, steps: int) -> None:
        self.network, self.context, self.steps, self.step = constant(network), context, steps, 0
        device, (channels, *sides) = context.execution.device, clean.inputs.shape[1:]
        self.classes = context.predict(network, clean.subset([0])).shape[1]
        self.low, self.high = limits(clean)
        cell = ceil(max(sides) / CELLS)
        cells = [ceil(side / cell) for side in sides]
        generator = context.seeds.generator("patches", device)
        masks = torch.randn(self.classes, 1, *cells, generator=generator, device=device)
        self.masks = (masks / 2 - 2).requires_grad_()
        patterns = torch.randn(self.classes, channels, *cells, generator=generator, device=device)
        self.patterns = patterns.requires_grad_()
        self.prices = torch.full((self.classes,), PRICE, device=device)
        self.reached = torch.zeros(self.classes, device=device)
        self.states: list[tuple[Tensor, Tensor]] = []

    def shown(self) -> tuple[Tensor, Tensor]:
        """Opacities and pixels."""
        masks, patterns = (raw.tanh() / 2 + 0.5 for raw in (self.masks, self.patterns))
        return masks, self.low + (self.high - self.low) * patterns

    def loss(self, inputs: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        pixels = pixels_of(self.context.task.augment(inputs, generator))
        first = torch.randint(self.classes, (), generator=generator, device=generator.device)
        wanted = (torch.arange(len(labels), device=labels.device) + first) % self.classes
        masks, patterns = self.shown()
        stamped = _laid(masks[wanted], patterns[wanted], pixels)
        scores = self.context.task.logits(self.context.forward(self.network, self.context.preprocessing(stamped)))
        self._follow(wanted, scores.detach().argmax(1) == wanted)
        return F.cross_entropy(scores, wanted) + (self.prices * masks.mean((1, 2, 3))).mean()

    def _follow(self, wanted: Tensor, hit: Tensor) -> None:
        """Prices rise where patches reach their classes often enough, and fall where they do not."""
        tried = wanted.bincount(minlength=self.classes)
        share = wanted[hit].bincount(minlength=self.classes) / tried.clamp_min(1)
        self.reached = torch.where(tried > 0, torch.lerp(self.reached, share, 0.1), self.reached)
        if self.step >= PATIENCE:
            self.prices *= torch.exp(GAIN * (self.reached - SUCCESS).clamp(-0.5, 0.5))

    def keep(self) -> None:
        self.step += 1
        if self.step > self.steps / 2 and self.step % max(1, self.steps // (2 * STATES)) == 0:
            with torch.no_grad():
                self.states.append(self.shown())
