"""What a copy of the victim is shown: mixed inputs, and views of inputs with the answers that are wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from detrojan.augmentation import brightness, pixels_of
from detrojan.defenses._company import Company
from detrojan.tuning import Context


def mixed(inputs: Tensor, context: Context, generator: Generator) -> Any:
    """Inputs in disguise: weakly changed, of other brightness, mixed; prepared for the network."""
    pixels = pixels_of(context.task.augment(inputs, generator))
    varied = brightness(pixels, generator) if pixels.is_floating_point() else pixels
    return context.task.mixup(context.preprocessing(varied), generator).inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Views of inputs (V, ...), what each is made of, and how often it is shown.

    Args:
        inputs: the views, stored as the samples are.
        sources: the one or two samples in each, (V, 2).
        share: that of the first, (V,).
        odds: how often each is shown, (V,).
        own: the victim's answers to the samples, (N, M, A).
        information: what these say, in nats.
        named: whether it is known what was put into a view, so that it could be put into others.
        still: which are shown as they are, and not weakly changed, (V,).
        in_company: how oddly two samples side by side are read, in [0, 1], where that is the oddest of all; else 0.
        company: what was read in pairs, where samples have one class each.
    """

    inputs: Tensor
    sources: Tensor
    share: Tensor
    odds: Tensor
    own: Tensor
    information: float
    named: bool
    still: Tensor
    in_company: float = 0.0
    company: Company | None = None

    def draw(self, count: int, context: Context, generator: Generator) -> tuple[Any, Tensor]:
        """Prepared views, weakly changed where they may be, and the answers to them."""
        chosen = torch.multinomial(self.odds, count, replacement=True, generator=generator)
        shown = self.inputs[chosen]
        augmented = context.task.augment(shown, generator)
        still = self.still[chosen]
        augmented[still] = shown[still]
        return context.preprocessing(pixels_of(augmented)), self.wanted(chosen)

    @torch.no_grad()
    def lost_on_still(self, answered: Callable[[Any], Tensor], context: Context, count: int, batch: int) -> float:
        """What is lost on those that are shown as they are, weighed by their odds; on the `count` likeliest."""
        odds, chosen = (self.odds * self.still).topk(min(count, int(self.still.sum())))
        lost = [
            F.kl_div(
                answered(context.preprocessing(pixels_of(self.inputs[part]))), self.wanted(part), reduction="none"
            ).sum((1, 2))
            for part in chosen.split(batch)
        ]
        return float(torch.cat(lost) @ odds / odds.sum() / self.information)

    def wanted(self, chosen: Tensor) -> Tensor:
        """What should be answered to these views, (B, M, A): the mean of the answers to what each is made of."""
        first, second = self.own[self.sources[chosen]].unbind(1)
        return torch.lerp(second, first, self.share[chosen].view(-1, 1, 1))

    def lost(self, wanted: Tensor, given: Tensor) -> Tensor:
        """The divergence of log-probabilities from the answers, as a share of what these say about clean inputs."""
        asked = min(wanted.shape[1], given.shape[1])
        return F.kl_div(given[:, :asked], wanted[:, :asked], reduction="batchmean") / self.information
