"""What a copy of the victim is shown: mixed inputs, and views of images on which the victim contradicts itself."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import brightness, bytes_of, pixels_of, side_by_side, strong_view
from detrojan.data.samples import Samples
from detrojan.defenses._information import information
from detrojan.tuning import Context

ROOM = 2**30
"""Bytes that all views may take."""
AT_ONCE = 2**28
"""Bytes of the pixels, as floats, of the views that are made at once."""
FURTHEST = 10.0
"""The largest divergence that counts, so that no view is all that is shown."""


def mixed(inputs: Tensor, context: Context, generator: Generator) -> Any:
    """Inputs in disguise: weakly changed, of other brightness, mixed; prepared for the network."""
    pixels = pixels_of(context.task.augment(inputs, generator))
    varied = brightness(pixels, generator) if pixels.is_floating_point() else pixels
    return context.task.mixup(context.preprocessing(varied), generator).inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Views of images as bytes (V, C, H, W), what should be answered (V, M, A), and how often each is shown (V,)."""

    inputs: Tensor
    wanted: Tensor
    odds: Tensor
    information: float

    def draw(self, count: int, context: Context, generator: Generator) -> tuple[Any, Tensor]:
        """Prepared views, weakly changed, and the answers to them."""
        chosen = torch.multinomial(self.odds, count, replacement=True, generator=generator)
        augmented = context.task.augment(self.inputs[chosen], generator)
        return context.preprocessing(pixels_of(augmented)), self.wanted[chosen]

    def lost(self, wanted: Tensor, given: Tensor) -> Tensor:
        """The divergence of log-probabilities from the answers, as a share of what these say about clean images."""
        return F.kl_div(given, wanted, reduction="batchmean") / self.information


def contradictions(
    victim: nn.Module, clean: Samples, context: Context, *, strong: int, joined: int, mining: float
) -> Views | None:
    """So many strong views and pairs side by side, in which the victim should answer as to the clean images.

    To a pair it should answer with the mean of its answers to both, by their areas. The odds of a view grow with the
    divergence of what the victim does answer, to the power `mining`; both kinds are shown equally often. None of what
    is no image.
    """
    if not (strong or joined) or clean.label_kind == "boxes" or not _pictures(clean):
        return None
    generator, numel = context.seeds.generator("views"), clean.inputs[0].numel()
    fit = min(1.0, ROOM / ((strong + joined) * numel))
    own = _answers(victim, clean.inputs, context)

    def of_one(which: Tensor) -> tuple[Tensor, Tensor]:
        return strong_view(pixels_of(clean.inputs[which[0]]), generator), own[which[0]]

    def of_two(which: Tensor) -> tuple[Tensor, Tensor]:
        halves = [context.task.augment(pixels_of(clean.inputs[each]), generator) for each in which]
        pairs, share = side_by_side(halves[0], halves[1], generator)
        return pairs, torch.lerp(own[which[1]], own[which[0]], share.view(-1, 1, 1))

    shown, answers, odds = list[Tensor](), list[Tensor](), list[Tensor]()
    for count, sources, make in ((strong, 1, of_one), (joined, 2, of_two)):
        if not count:
            continue
        drawn = [_cycled(len(own), max(1, int(count * fit)), generator) for _ in range(sources)]
        apart = list[Tensor]()
        for part in torch.stack(drawn).split(max(1, AT_ONCE // (4 * numel)), 1):
            views, wanted = make(part)
            apart.append(_apart(wanted, _answers(victim, views, context)))
            shown.append(bytes_of(views))
            answers.append(wanted)
        weight = torch.cat(apart) ** mining
        odds.append(weight / weight.sum())
    device = context.execution.device
    return Views(
        inputs=torch.cat(shown).to(device),
        wanted=torch.cat(answers).to(device),
        odds=torch.cat(odds).to(device),
        information=float(information(own).clamp_min(1e-3)),
    )


def _pictures(clean: Samples) -> bool:
    """Whether the samples are images that RandAugment can read: bytes or pixels in [0, 1], grey or in three colours."""
    pixels = pixels_of(clean.inputs)
    pictures = pixels.ndim == 4 and pixels.is_floating_point() and pixels.shape[1] in (1, 3)
    return pictures and float(pixels.amin()) >= 0 and float(pixels.amax()) <= 1


@torch.no_grad()
def _answers(victim: nn.Module, inputs: Tensor, context: Context) -> Tensor:
    """The victim's probabilities (N, M, A)."""
    parts = [context.preprocessing(pixels_of(part.to(context.execution.device))) for part in inputs.split(250)]
    outputs = [context.forward(victim, part) for part in parts]
    return torch.cat([context.task.answers(context.task.logits(each)).cpu() for each in outputs])


def _apart(wanted: Tensor, given: Tensor) -> Tensor:
    """The divergence (N,) of answers from those that are wanted."""
    return F.kl_div(given.clamp_min(1e-6).log(), wanted, reduction="none").sum((1, 2)).clamp(1e-3, FURTHEST)


def _cycled(population: int, count: int, generator: Generator) -> Tensor:
    """So many indices, each as often as any other, or once more, in random order."""
    return (torch.arange(count) % population)[torch.randperm(count, generator=generator)]
