"""The smallest change for each class, sought in one loop for all: which class is reached with oddly little, and how.

An attacker may also have moved every class to another one: so there is one more aim, any class but an image's own.

Source: this project; the loss and a price that follows success after Wang et al., "Neural Cleanse" (S&P 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.defenses._changes import KINDS, Change
from detrojan.defenses._oddness import ENOUGH, FEWEST, oddness
from detrojan.functional import constant
from detrojan.perturbations import limits
from detrojan.tuning import Context, tune

PRICE, GAIN = 10.0, 0.3
"""Of a change of size 1, at first; and by how much it follows success in a step, as a logarithm."""
PATIENCE = 20
"""Steps before prices change."""
BETAS = (0.5, 0.9)
"""Of Adam."""
STATES = 4
"""How many states of each change are kept, of the second half of the search: late ones are smaller."""
AWAY = 0.8
"""The share of images that the change of the last aim should send away; who moves every class succeeds less often."""
ODD_AWAY, AWAY_NEEDS = 0.4, 100
"""The share of the smallest to a class at which the last aim is as odd as not; with fewer images it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What was found of one kind: states of changes, which aims they reach, and how large the last ones are.

    Args:
        kind: of change.
        states: what is shown in T states, each (T, K + 1, ...); the last aim is any class but an image's own.
        reached: the share of images that each change sends to its aim, (K + 1,).
        sizes: of each, a share, (K + 1,).
        names: of the classes, where they are known.
    """

    kind: Change
    states: Sequence[Tensor]
    reached: Tensor
    sizes: Tensor
    names: Sequence[str] = ()

    def lay(self, pixels: Tensor, aims: Tensor, generator: Generator) -> Tensor:
        """Change each image (B, C, H, W) towards its aim (B,), in any of the states."""
        count = len(self.states[0])
        states = torch.randint(count, aims.shape, generator=generator, device=generator.device)
        return self.kind.laid([each[states, aims] for each in self.states], pixels)

    @property
    def found(self) -> Tensor:
        """Whether each change reaches its aim more often than not, (K + 1,)."""
        return self.reached > 0.5

    @property
    def oddness(self) -> float:
        """In [0, 1]: near 1 where one class is reached with far less than the next, or any other with far less still.

        What leads to a class leads away from the others, so that the last aim is no class to compare classes with.
        """
        if len(self._by_size) < FEWEST:
            return 0.0
        least, following = (float(self.sizes[each]) for each in self._by_size[:2])
        ratios = [least / following / self.kind.odd]
        if self.found[-1]:
            ratios.append(float(self.sizes[-1]) / least / ODD_AWAY)
        return oddness(min(ratios))

    def told(self) -> str:
        """What is reached with how much, as a clause."""
        if len(self._by_size) < FEWEST:
            return "too few classes are reached to tell"
        first = self._by_size[0]
        name = f" ({self.names[first]})" if len(self.names) == len(self.sizes) - 1 else ""
        least, following, median, away = (
            f"{100 * float(self.sizes[each]):.2f} %"
            for each in (first, self._by_size[1], self._by_size[len(self._by_size) // 2], -1)
        )
        any_other = f"; to any other {away}" if self.found[-1] else ""
        classes = f"to the next class {following}, to the median one {median}"
        return f"to class {first}{name}, {least} {self.kind.unit}; {classes}{any_other}"

    @property
    def _by_size(self) -> list[int]:
        """The classes that are reached, the one with the smallest change first."""
        return sorted(self.found[:-1].nonzero().flatten().tolist(), key=self.sizes.tolist().__getitem__)


def seek(network: nn.Module, clean: Samples, context: Context, *, steps: int, batch: int) -> list[Changes]:
    """The smallest changes that send images to each class: of one kind after the other, until one of them is odd.

    Args:
        network: stays as it is, and is used in the mode that it is in.
        clean: images, whose labels are not read.
        context: see there.
        steps: of Adam, for each kind.
        batch: images a step, drawn with replacement; each aim has its share of them.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    sought = list[Changes]()
    for kind in KINDS:
        sought.append(sought_of(kind, network, clean, context, steps=steps, batch=batch))
        if sought[-1].oddness > ENOUGH:
            break
    return sought


def sought_of(
    kind: type[Change], network: nn.Module, clean: Samples, context: Context, *, steps: int, batch: int
) -> Changes:
    """The smallest changes of one kind; see `seek`."""
    search = _Search(kind, network, clean, context, steps)
    optimizer = torch.optim.Adam(search.change.free, kind.learning_rate, betas=BETAS)
    stage = f"seeking a {kind.name}"
    tune(search.loss, optimizer, clean, context, steps=steps, batch=batch, stage=stage, project=search.keep)
    states = [torch.stack(each).cpu() for each in zip(*search.states[-STATES:], strict=True)]
    if len(clean) < AWAY_NEEDS:
        search.reached[-1] = 0.0
    return Changes(
        kind=search.change,
        states=states,
        reached=search.reached.cpu(),
        sizes=search.change.sizes([each[-1] for each in states]),
        names=clean.class_names,
    )


class _Search:
    """Changes under way, with the price of each."""

    def __init__(self, kind: type[Change], network: nn.Module, clean: Samples, context: Context, steps: int) -> None:
        self.network, self.context, self.steps, self.step = constant(network), context, steps, 0
        device = context.execution.device
        self.classes = context.predict(network, clean.subset([0])).shape[1]
        self.aims = self.classes + 1
        self.change = kind(self.aims, clean.inputs.shape[1:], limits(clean), context.seeds.generator(kind.name, device))
        self.asked = torch.tensor([kind.success] * self.classes + [AWAY], device=device)
        self.prices = torch.full((self.aims,), PRICE, device=device)
        self.reached = torch.zeros(self.aims, device=device)
        self.states: list[list[Tensor]] = []

    def loss(self, inputs: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        pixels = pixels_of(self.context.task.augment(inputs, generator))
        first = torch.randint(self.aims, (), generator=generator, device=generator.device)
        aims = (torch.arange(len(labels), device=labels.device) + first) % self.aims
        wanted = self._wanted(pixels, aims)
        shown = self.change.shown()
        scores = self._scores(self.change.laid([each[aims] for each in shown], pixels))
        self._follow(aims, wanted.gather(1, scores.detach().argmax(1, keepdim=True))[:, 0])
        missed = scores.logsumexp(1) - scores.masked_fill(~wanted, -torch.inf).logsumexp(1)
        return missed.mean() + (self.prices * self.change.sizes(shown)).mean()

    def _scores(self, pixels: Tensor) -> Tensor:
        return self.context.task.logits(self.context.forward(self.network, self.context.preprocessing(pixels))).float()

    @torch.no_grad()
    def _wanted(self, pixels: Tensor, aims: Tensor) -> Tensor:
        """Whether an image may go to a class, (B, K)."""
        classes = torch.arange(self.classes, device=aims.device)
        wanted, away = classes == aims[:, None], aims == self.classes
        if away.any():
            wanted[away] = classes != self._scores(pixels[away]).argmax(1, keepdim=True)
        return wanted

    def _follow(self, aims: Tensor, hit: Tensor) -> None:
        """Prices rise where changes reach their aims often enough, and fall where they do not."""
        tried = aims.bincount(minlength=self.aims)
        share = aims[hit].bincount(minlength=self.aims) / tried.clamp_min(1)
        self.reached = torch.where(tried > 0, torch.lerp(self.reached, share, 0.1), self.reached)
        if self.step >= PATIENCE:
            self.prices *= torch.exp(GAIN * (self.reached - self.asked).clamp(-0.5, 0.5))

    def keep(self) -> None:
        self.step += 1
        if self.step > self.steps / 2 and self.step % max(1, self.steps // (2 * STATES)) == 0:
            with torch.no_grad():
                self.states.append(self.change.shown())
