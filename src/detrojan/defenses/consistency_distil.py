"""Consistency and distil: the victim's answers to clean images are kept where it contradicts them itself.

A copy of the victim, all of its weights trainable and a factor on each neuron, learns to give the victim's own answers:
those to mixed inputs when it sees the same, and those to clean images when it sees strong views of them (a part,
RandAugment, a colour cast, a box of noise) or two of them side by side; those to clean sentences when it sees them with
a word put in, to clean clouds when it sees them turned or with a ball of points put in. Of these views it sees those
most often to which the victim answers otherwise: what rests on faint patterns, colours, exact places, a company of
features or a rare word shows there, and is unlearned. Images have one more kind of view: the smallest change, the same
for all of them, that sends them to another class (a patch, a warp or a filter). Where a class is reached with oddly
little, these take the place of most strong views, weights move faster, and hardly anything else is asked for; in
the end all goes back a part of its way. Where the company of one class is what is odd, pairs take that place. What only
a trigger needs is pulled down as in `shrink_distil`. Batch-norm statistics are frozen.

Needs: clean samples; their labels are not read.
Serves: any network. Of images, clips, sentences and clouds there are views; images with boxes are mixed only.
Source: this project; strong views after Sohn et al., "FixMatch" (NeurIPS 2020), the way back after Wortsman et al.,
"Robust fine-tuning of zero-shot models" (CVPR 2022).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.defenses._bounded_sgd import bounded_sgd
from detrojan.defenses._contradictions import contradictions, viewable
from detrojan.defenses._information import information_lost
from detrojan.defenses._oddness import ENOUGH
from detrojan.defenses._smallest_changes import Changes, seek
from detrojan.defenses._steering import Steering
from detrojan.defenses._views import mixed
from detrojan.errors import BadArgument, Unsupported
from detrojan.masks import Masks, Placement
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import weights_of

GAIN = 0.03
"""By how much the pressure grows or falls in a step at most, as a logarithm."""
STAGE = "consistency and distil"
FURTHER = 0.05
"""By so much of the way, time after time, it is tried to go back further."""
LOST_ON_CHANGED = 0.05
"""Of the information that the victim's answers hold, what may be lost on changed images further back."""
JUDGED = 512
"""Changed images that tell."""
LEAST = dict.fromkeys(("optimism", "consistency", "strong_views", "joined_views", "mining"), 0)
LEAST |= {"learning_rate": 0, "weight_learning_rate": 0, "odd_learning_rate": 0, "search_steps": 0}
LEAST |= {"enough": 1, "enough_named": 1, "batch": 2, "search_batch": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyDistil:
    """Minimise (information lost on mixed inputs) + consistency x (on views) + pressure x (mean squared factor).

    Args:
        lost: the share in (0, 1) of the victim's information about mixed clean inputs that may be lost; the pressure
            is steered towards it. With N clean samples the target is `lost` x N / (N + `optimism`).
        optimism: see `lost`.
        consistency: the weight of the answers to views, which are half of each batch; 0 leaves them out.
        strong_views: their number, made beforehand; fewer where all views would take more than a gibibyte.
        joined_views: the number of pairs of images side by side, made beforehand; of sentences, of more strong views.
        mining: the power to which a view's odds grow with how far off the answer to it is; 0 shows all equally often.
        search_steps: of the search for the smallest change to each class, for each kind of change that is sought, in
            images with one class each; 0 leaves it out.
        search_batch: images a step of that search.
        steps: gradient steps; the learning rates are held for the first half and fall by a cosine in the second.
        batch: examples a step, drawn with replacement.
        learning_rate: of the factors, by SGD.
        weight_learning_rate: of the weights; 0 keeps them as they are.
        odd_learning_rate: in place of that, as far as a class is reached with an oddly small change.
        way_back: the share in [0, 1] of their way that factors and weights go back to the victim's in the end, as far
            as a change is oddly small: a trigger is unlearned on the first part, the last costs the most accuracy. With
            samples enough and a change that is more odd than not it is more: `furthest_back` where what was found is
            surely the attacker's, and else on to it as long as images with the change are answered as without it.
        furthest_back: see `way_back`; where more is gone back, a backdoor that does not work may only be asleep.
        enough: with fewer samples (frames of clips), `consistency` and `weight_learning_rate` shrink in proportion.
        lost_named, enough_named: in place of `lost` and `enough` where it is known what was put into each view, as a
            word is into a sentence, and as far as an oddly small change is into an image, or the company of a class is
            odd: such views find a trigger without much of a pull, and need few samples.
        pressure: at the first step.
        placement: where factors sit; None: `neuron`, and `channel` in a network without norms.
    """

    lost: float = 0.15
    optimism: float = 6.0
    consistency: float = 1.0
    strong_views: int = 3000
    joined_views: int = 15000
    mining: float = 2.0
    search_steps: int = 200
    search_batch: int = 64
    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.2
    weight_learning_rate: float = 0.01
    odd_learning_rate: float = 0.06
    way_back: float = 0.25
    furthest_back: float = 0.5
    enough: int = 400
    lost_named: float = 0.05
    enough_named: int = 50
    pressure: float = 1.0
    placement: Placement | None = None

    def __post_init__(self) -> None:
        for name in ("lost", "lost_named"):
            if not 0 < getattr(self, name) < 1:
                raise BadArgument(f"{name} is a share above 0 and below 1, got {getattr(self, name)}")
        for name in ("way_back", "furthest_back"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadArgument(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if not self.pressure > 0:
            raise BadArgument(f"pressure must be above 0, got {self.pressure}")
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise BadArgument(f"{name} must be at least {least}, got {getattr(self, name)}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model; labels are not read.

        Raises:
            Unsupported: the network has nothing that can carry such a factor, or is sharded.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("consistency_distil")
        teacher = context.execution.placed(model).eval()
        sought = self._sought(teacher, clean, context)
        changes = max(sought, key=lambda each: each.oddness, default=None)
        asked: dict[str, Any] = {"strong": self.strong_views, "joined": self.joined_views, "mining": self.mining}
        asked["changes"] = changes
        views = contradictions(teacher, clean, context, **asked) if self.consistency else None
        in_company = views.in_company if views else 0.0
        oddness = changes.oddness if changes and views and not in_company else 0.0
        known = 1.0 if views and views.named else max(oddness, in_company)
        lost = known * self.lost_named + (1 - known) * self.lost
        enough = known * self.enough_named + (1 - known) * self.enough
        target = lost * len(clean) / (len(clean) + self.optimism)
        pictures = clean.inputs.shape[2] if clean.inputs.ndim == 5 else 1
        share = min(1.0, pictures * len(clean) / enough)
        steering = Steering(target=target, gain=GAIN, pressure=self.pressure)
        masks = self._masks(model)
        weights = [weight.requires_grad_() for weight in weights_of(masks.network) if self.weight_learning_rate]
        context.execution.place(masks).train()
        tuned = [*masks.factors, *weights]
        start = [part.detach().clone() for part in tuned] if oddness else []
        groups: list[dict[str, Any]] = [{"params": list(masks.factors), "lr": self.learning_rate}]
        if weights:
            rate = oddness * self.odd_learning_rate + (1 - oddness) * self.weight_learning_rate
            groups.append({"params": weights, "lr": share * rate})
        optimizer, schedule = bounded_sgd(groups, self.steps)

        def answered(inputs: Any) -> Tensor:
            return context.task.log_answers(context.task.logits(context.forward(masks, inputs)))

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del labels
            both = mixed(inputs, context, generator)
            with torch.no_grad():
                wanted = context.task.answers(context.task.logits(context.forward(teacher, both)))
            kept = information_lost(wanted, answered(both))
            pressure = steering.follow(float(kept.detach()))
            if views is not None:
                shown, wanted = views.draw(self.batch - self.batch // 2, context, generator)
                kept = kept + share * self.consistency * views.lost(wanted, answered(shown))
            return 2 * (kept + pressure * torch.cat(list(masks.factors)).square().mean())

        def project() -> None:
            masks.clamp_()
            schedule.step()

        batch = self.batch // 2 if views else self.batch
        losses = tune(objective, optimizer, clean, context, steps=self.steps, batch=batch, stage=STAGE, project=project)
        found: dict[str, Any] = {f"smallest {each.kind.name}": each.told() for each in sought}
        if changes:
            found["how odd that is, 0 to 1"] = round(changes.oddness, 2)
        if views and views.company:
            found["pairs read as what neither is"] = views.company.told(clean.class_names)
            found["how odd such pairs are, 0 to 1"] = round(views.company.oddness, 2)
        if changes and views and oddness and views.still.any():
            gone = _go_back(
                tuned,
                start,
                [oddness * each for each in self._ways_back(changes, plenty=share == 1)],
                lambda: views.lost_on_still(answered, context, JUDGED, self.batch) <= LOST_ON_CHANGED,
            )
            found["gone back, a share of the way"] = round(gone, 2)
        notes = steering.notes(masks) | found
        return Tuned(model=masks.fold(), masks=masks.state(), losses=tuple(losses), notes=notes)

    def _sought(self, victim: nn.Module, clean: Samples, context: Context) -> list[Changes]:
        wanted = self.search_steps and self.consistency and self.strong_views
        if not wanted or clean.kind != "images" or context.task.labels != "class" or not viewable(clean, context):
            return []
        return seek(victim, clean, context, steps=self.search_steps, batch=self.search_batch)

    def _ways_back(self, changes: Changes, *, plenty: bool) -> list[float]:
        """The share of the way back that is gone in any case, and those that may be."""
        if not plenty or changes.oddness <= ENOUGH:
            return [self.way_back]
        if changes.kind.sure:
            return [max(self.way_back, self.furthest_back)]
        further = max(0, round((self.furthest_back - self.way_back) / FURTHER))
        return [self.way_back + FURTHER * each for each in range(further + 1)]

    def _masks(self, model: nn.Module) -> Masks:
        try:
            return Masks(model, self.placement or "neuron", statistics="frozen", dropout=False)
        except Unsupported:
            if self.placement:
                raise
            return Masks(model, "channel", statistics="frozen", dropout=False)


@torch.no_grad()
def _go_back(
    reached: Sequence[Tensor], start: Sequence[Tensor], shares: Sequence[float], may: Callable[[], bool]
) -> float:
    """Move tensors in place back to where they started, as Wortsman et al. (CVPR 2022) do; returns how far.

    By the first of these growing shares of the way in any case, and by each further one as long as `may` allows it.
    """
    ends = [part.clone() for part in reached]

    def go(share: float) -> None:
        for now, first, end in zip(reached, start, ends, strict=True):
            now.copy_(end.lerp(first, share))

    gone = shares[0]
    for further in shares[1:]:
        go(further)
        if not may():
            break
        gone = further
    go(gone)
    return gone


METHOD = ConsistencyDistil
