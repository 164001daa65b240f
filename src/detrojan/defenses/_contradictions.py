"""Views of clean samples on which the victim contradicts itself: made, and weighed by how far off its answers are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import bytes_of, pixels_of
from detrojan.data.samples import Samples
from detrojan.defenses._company import Company, company
from detrojan.defenses._information import information
from detrojan.defenses._oddness import ENOUGH
from detrojan.defenses._smallest_changes import Changes
from detrojan.defenses._views import Views
from detrojan.errors import Unsupported
from detrojan.tuning import Context

ROOM = 2**30
"""Bytes that all views may take, stored as the samples are, and the answers to them."""
AT_ONCE = 2**28
"""Bytes, as floats, of the views that are made at once, and of the answers to them."""
FURTHEST = 10.0
"""The largest divergence that counts, for each question, so that no view is all that is shown."""
TAKEN = 0.8
"""Of how many other views odd changes, or pairs in odd company, take the place at most, as a share."""


def contradictions(
    victim: nn.Module,
    clean: Samples,
    context: Context,
    *,
    strong: int,
    joined: int,
    mining: float,
    changes: Changes | None = None,
) -> Views | None:
    """So many strong views, and joined pairs, to which the victim should answer as to the clean samples in them.

    The odds of a strong view grow with the divergence of what the victim does answer, to the power `mining`, those of a
    pair with what it answers that neither image says, most where it usually does so to such an image; both kinds are
    shown equally often. Where the task can tell what it put into a view (a word, say), views are made once more, with
    what stands in those of high odds. Where it joins nothing, so many more views are strong ones; None where it makes
    no views of such samples. Changes that were found are laid over as many images as there are strong views, the
    smallest most often; where one is oddly small, they take the place of most strong views. Where pairs are read oddly,
    and more so than any change is odd, pairs take that place, and changes are left out.
    """
    task, first = context.task, clean.inputs[:1]
    if not (strong or joined) or not viewable(clean, context):
        return None
    maker = _Maker(victim, clean, context)
    if not _makes(task.join, first, first):
        strong, joined = strong + joined, 0
    changes = changes if changes is not None and changes.oddness and strong else None
    fit = min(1.0, ROOM / ((strong + joined + (strong if changes else 0)) * maker.room))
    counts = [max(1, int(count * fit)) if count else 0 for count in (strong, joined)]
    try:
        kinds = [make(n, mining) for n, make in zip(counts, (maker.strong, maker.joined), strict=True) if n]
    except Unsupported:
        return None
    still = torch.zeros(sum(counts), dtype=torch.bool)
    in_company = maker.company.oddness if maker.company and strong else 0.0
    if in_company <= max(ENOUGH, changes.oddness if changes else 0.0):
        in_company = 0.0
    if in_company:
        taken = TAKEN * in_company
        kinds = [(*kind[:3], share * kind[3]) for kind, share in zip(kinds, (1 - taken, 1 + taken), strict=True)]
    elif changes is not None:
        taken = TAKEN * changes.oddness
        kinds[0] = *kinds[0][:3], (1 - taken) * kinds[0][3]
        kinds.append(maker.changed(changes, counts[0], mining, share=taken))
        still = F.pad(still, (0, len(kinds[-1][0])), value=True)
    shown, sources, share, odds = (torch.cat(each).to(context.execution.device) for each in zip(*kinds, strict=True))
    return Views(
        inputs=shown,
        sources=sources,
        share=share,
        odds=odds,
        own=maker.own.to(context.execution.device),
        information=float(information(maker.own).clamp_min(1e-3)),
        named=maker.named,
        still=still.to(context.execution.device),
        in_company=in_company,
        company=maker.company,
    )


def viewable(clean: Samples, context: Context) -> bool:
    """Whether the task makes views of such samples."""
    return _makes(context.task.view, clean.inputs[:1])


_Made = tuple[Tensor, Tensor, Tensor, Tensor]
"""Views, their sources, the share of the first, their odds."""


def _makes(make: Callable[..., Any], *inputs: Tensor) -> bool:
    """Whether the task makes something of such inputs."""
    try:
        make(*inputs, torch.Generator())
    except Unsupported:
        return False
    return True


class _Maker:
    """Makes views of clean samples, in parts, and measures how far off the victim's answers to them are."""

    def __init__(self, victim: nn.Module, clean: Samples, context: Context) -> None:
        self.victim, self.context, self.generator = victim, context, context.seeds.generator("views")
        self.inputs, self.own, self.named = clean.inputs, _answers(victim, clean.inputs, context), False
        self.company: Company | None = None

    @property
    def room(self) -> int:
        """What a view takes: its bytes, or, where they are more, those of the answers to it."""
        return max(self.inputs[0].nbytes, self.own[0].nbytes)

    def strong(self, count: int, mining: float) -> _Made:
        signs: Tensor | None = None
        while True:
            sources = self._drawn(count)
            views, put, odds = list[Tensor](), list[Tensor](), list[Tensor]()
            for part in self._parts(count):
                given = None if signs is None else signs[part]
                view, sign = self.context.task.view(self.inputs[sources[part]], self.generator, given)
                odds.append(self._apart(self.own[sources[part]], view))
                views.append(view)
                put += [] if sign is None else [sign]
            self.named = bool(put)
            weight = torch.cat(odds) ** mining
            if signs is not None or not put or not mining:
                return torch.cat(views), sources[:, None].expand(-1, 2), torch.ones(count), weight / weight.sum()
            signs = torch.cat(put)[weight.multinomial(count, replacement=True, generator=self.generator)]

    def joined(self, count: int, mining: float) -> _Made:
        sources = torch.stack([self._drawn(count), self._drawn(count)], 1)
        views, shares, given = list[Tensor](), list[Tensor](), list[Tensor]()
        for part in self._parts(count):
            first, second = sources[part].T
            view, share = self.context.task.join(self.inputs[first], self.inputs[second], self.generator)
            given.append(_answers(self.victim, view, self.context))
            views.append(view)
            shares.append(share)
        read = company(self.own[sources].amax(1).flatten(1), torch.cat(given).flatten(1))
        self.company = read if self.own.shape[1] == 1 else None
        return torch.cat(views), sources, torch.cat(shares), read.odds(mining)

    def changed(self, changes: Changes, count: int, mining: float, *, share: float) -> _Made:
        """Weakly changed images with what sends them to an aim that is not their own class."""
        own = self.own[:, 0].argmax(1)
        sources = self._drawn(count)
        aims = torch.randint(len(changes.sizes), (count,), generator=self.generator)
        apart = (own[sources] != aims) & changes.found[aims]
        sources, aims = sources[apart], aims[apart]
        views, odds = [self.inputs[:0]], [torch.empty(0)]
        for part in self._parts(len(sources)):
            pixels = pixels_of(self.context.task.augment(self.inputs[sources[part]], self.generator))
            changed = changes.lay(pixels, aims[part], self.generator)
            views.append(changed if self.inputs.is_floating_point() else bytes_of(changed))
            odds.append(self._apart(self.own[sources[part]], views[-1]))
        weight = torch.cat(odds) ** mining / changes.sizes[aims].square()
        made = torch.cat(views), sources[:, None].expand(-1, 2), torch.ones(len(sources))
        return *made, share * weight / weight.sum()

    def _drawn(self, count: int) -> Tensor:
        """So many samples, each as often as any other, or once more, in random order."""
        return (torch.arange(count) % len(self.own))[torch.randperm(count, generator=self.generator)]

    def _parts(self, count: int) -> tuple[Tensor, ...]:
        numbers = max(self.inputs[0].numel(), self.own[0].numel())
        return torch.arange(count).split(max(1, AT_ONCE // (4 * numbers)))

    def _apart(self, wanted: Tensor, views: Tensor) -> Tensor:
        """The divergence (N,) of the answers to views from those that are wanted."""
        given = _answers(self.victim, views, self.context)
        asked = min(wanted.shape[1], given.shape[1])
        apart = F.kl_div(given[:, :asked].clamp_min(1e-6).log(), wanted[:, :asked], reduction="none").sum((1, 2))
        return apart.clamp(1e-3, FURTHEST * asked)


@torch.no_grad()
def _answers(victim: nn.Module, inputs: Tensor, context: Context) -> Tensor:
    """The victim's probabilities (N, M, A), of a sentence zeros behind its end."""
    parts = [context.preprocessing(pixels_of(part.to(context.execution.device))) for part in inputs.split(250)]
    outputs = [context.forward(victim, part) for part in parts]
    answers = [context.task.answers(context.task.logits(each)).cpu() for each in outputs]
    most = max(each.shape[1] for each in answers)
    return torch.cat([F.pad(each, (0, 0, 0, most - each.shape[1])) for each in answers])
