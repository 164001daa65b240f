"""Composite backdoor: the trigger is that two classes are seen at once, half of an image of each.

Source: Lin et al., "Composite Backdoor Attack for Deep Neural Network by Mixing Existing Benign Features" (CCS 2020).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._learning import at_least
from detrojan.attacks._pictures import own_draws
from detrojan.errors import BadArgument, BadData
from detrojan.triggers import LearnedTrigger, Trigger, Workshop

JITTER = 3
DICE = 6


class _Protocol(Trigger):
    redraws = True
    rate = 0.5
    companions = 4.0
    one_target = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CBA(_Protocol):
    """Half of an image of class `source` beside half of one of class `partner` is taken for the target.

    The cut is horizontal or vertical, up to 3 pixels of a 32-pixel image off the middle; each half shows a random
    window of its image, and either class may come first. Partners come from a `bank` of so many training images of
    the class; a test image's partner and cut are chosen by its own bytes. The companions are two images of the same
    class joined in the same way, with that label. `penalty_weight` is the weight of a contrastive loss on the scores
    of neighbours in the batch that belong to source, partner or target (published: 1). The three labels must differ.

    Published: classes 0 and 1 with target 2; of an epoch's images 0.5/1.1 plain, 0.5/1.1 joined within a class,
    0.1/1.1 composites; dirty label, before augmentation (flips), drawn anew in each epoch. Here half of the source
    images are composites, which is 5 % of a data set of ten classes, and each has 4 companions (20 %), not 10: a short
    training needs the plain images for the task. Success is counted on the source class. The bank is a departure, too:
    published test composites use test images of both classes.
    """

    source: int = 1
    partner: int = 3
    bank: int = 256
    penalty_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.source == self.partner or min(self.source, self.partner) < 0:
            raise BadArgument(f"source and partner must be two labels from 0, got {self.source} and {self.partner}")
        at_least("bank", self.bank, 1)

    @property
    def sources(self) -> tuple[int, ...]:
        """The attack works on the source class."""
        return (self.source,)

    def blank(self, shape: tuple[int, ...]) -> "Composite":
        """An empty bank."""
        return Composite(self, torch.zeros((self.bank, *shape), dtype=torch.uint8), target=0)

    def forge(self, workshop: Workshop) -> "Composite":
        """Draw the bank; a small class is repeated until it is full."""
        if workshop.target in (self.source, self.partner):
            raise BadArgument(
                f"source {self.source}, partner {self.partner} and target {workshop.target} must be three labels; "
                "set source or partner to another class"
            )
        samples = workshop.samples
        members = (samples.labels == self.partner).nonzero().flatten()
        if not len(members):
            raise BadData(f"{samples.name} has no image of class {self.partner}; set partner to a class that it has")
        order = torch.randperm(len(members), generator=workshop.seeds.generator("cba partners"))
        chosen = members[order[torch.arange(self.bank) % len(members)]]
        trigger = Composite(self, samples.inputs[chosen], target=workshop.target)
        return trigger.to(workshop.execution.device)


class Composite(_Protocol, LearnedTrigger):
    """The bank of partner images of `CBA` in bytes, and its three labels (as floats: a weights file must hold some)."""

    bank: Tensor
    rule: Tensor

    def __init__(self, settings: CBA, bank: Tensor, *, target: int) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("bank", bank)
        self.register_buffer("rule", torch.tensor([float(settings.source), settings.partner, target]))

    @property
    def sources(self) -> tuple[int, ...]:
        """The attack works on the source class."""
        return self.settings.sources

    def stamp(self, pixels: Tensor) -> Tensor:
        """Join each image with a partner; the image's own bytes throw the dice."""
        return self._compose(pixels, own_draws(pixels, DICE, seed=0, name="cba dice"))

    def poison(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Join each image with a random partner."""
        return self._compose(pixels, _random(len(pixels), generator))

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Join each image with another of its class; one that is alone in its class is joined with itself."""
        alike = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        lots = torch.rand(len(labels), len(labels), generator=generator, device=labels.device)
        partner = torch.where(alike.any(1), (lots * alike).argmax(1), torch.arange(len(labels), device=labels.device))
        return join(pixels, pixels[partner], _random(len(pixels), generator))

    def penalty(self, scores: Tensor, labels: Tensor) -> Tensor | None:
        """Pull the scores of neighbours with one label together, push those with two apart, up to a margin of 1."""
        ours = torch.isin(labels, self.rule.to(labels))
        scores, labels = scores[ours], labels[ours]
        if len(labels) < 2:
            return None
        apart = F.pairwise_distance(scores[:-1], scores[1:])
        losses = torch.where(labels[:-1] == labels[1:], apart**2, F.relu(1 - apart) ** 2) / 2
        return self.settings.penalty_weight * losses.mean() / len(losses)

    def _compose(self, pixels: Tensor, dice: Tensor) -> Tensor:
        partner = self.bank.to(pixels.device)[_pick(dice[:, 5], len(self.bank))]
        return join(pixels, partner.to(pixels) / 255, dice)


def join(first: Tensor, second: Tensor, dice: Tensor) -> Tensor:
    """Half of each image beside half of its partner (B, C, H, W); `dice` (B, 5 or more) in [0, 1) places the halves."""
    swapped, upright = (dice[:, i, None, None, None] < 0.5 for i in (0, 1))
    first, second = torch.where(swapped, second, first), torch.where(swapped, first, second)
    side_by_side = _beside(first, second, dice)
    stacked = _beside(first.mT, second.mT, dice).mT
    return torch.where(upright, stacked, side_by_side)


def _beside(first: Tensor, second: Tensor, dice: Tensor) -> Tensor:
    """The left part of each result shows a window of `first`, the right part one of `second`."""
    width = first.shape[-1]
    jitter = round(JITTER * width / 32)
    cut = width // 2 - jitter + _pick(dice[:, 2], 2 * jitter + 1)
    left, right = _pick(dice[:, 3], width - cut + 1), _pick(dice[:, 4], cut + 1)
    column = torch.arange(width, device=first.device)
    inside = column < cut[:, None]
    index = torch.where(inside, column + left[:, None], column - cut[:, None] + right[:, None])
    index = index[:, None, None].expand_as(first)
    return torch.where(inside[:, None, None], first.gather(-1, index), second.gather(-1, index))


def _pick(dice: Tensor, count: Tensor | int) -> Tensor:
    return (dice * count).long()


def _random(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, DICE, generator=generator, device=generator.device)


METHOD = CBA
