"""Consistency and distil: the victim's answers on clean images are kept when these are strongly changed.

A copy of the victim, all of its weights trainable and a factor on each neuron, learns to give the victim's own answers:
those on mixed inputs when it sees the same, and those on weakly changed images when it sees them strongly changed
(another part of the image, RandAugment, a box of noise). The second undoes what rests on faint patterns, colours and
exact places; what only a trigger needs is pulled down as in `shrink_distil`. Labels are not used. Batch-norm
statistics are frozen.

Needs: clean samples; their labels are not read.
Serves: networks with norms; others with `placement=channel`. Images are strongly changed; other samples are mixed only.
Source: this project; weak and strong views after Sohn et al., "FixMatch" (NeurIPS 2020).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.defenses._information import information_lost
from detrojan.defenses._steering import Steering, held_then_falling
from detrojan.defenses._views import View, mixed, mixed_and_strong, with_strong_views
from detrojan.errors import BadArgument
from detrojan.masks import Masks, Placement
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import weights_of

LEAST = {"optimism": 0, "consistency": 0, "weight_learning_rate": 0, "warmup": 0, "views": 1, "batch": 2}
"""The smallest value of each setting that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyDistil:
    """Minimise (information lost on mixed inputs) + consistency x (on strong views) + pressure x (mean squared factor).

    Args:
        lost: the share in (0, 1) of the victim's information about mixed clean inputs that may be lost; the pressure
            is steered towards it. With N clean samples the target is `lost` x N / (N + `optimism`).
        optimism: see `lost`.
        consistency: the weight of the answers on strong views, which are half of each batch; 0 leaves them out.
        views: strong views of each image, made beforehand; fewer where they would take more than a gibibyte.
        steps: gradient steps; the learning rates are held for the first half and fall by a cosine in the second.
        batch: examples a step, drawn with replacement.
        learning_rate: of the factors; SGD with `momentum`.
        weight_learning_rate: of the weights; 0 keeps them as they are.
        warmup: the share of the steps in which the rates rise; early answers on strong views are far off.
        clip: the largest length of the gradient of all factors, and of that of all weights.
        pressure: at the first step; it then grows or falls by at most `gain` a step, as a logarithm.
        gain: see `pressure`.
        placement: where factors sit; a network without norms needs `channel`.
    """

    lost: float = 0.15
    optimism: float = 6.0
    consistency: float = 1.0
    views: int = 6
    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.2
    weight_learning_rate: float = 0.01
    momentum: float = 0.9
    warmup: float = 0.1
    clip: float = 1.0
    pressure: float = 0.15
    gain: float = 0.03
    placement: Placement = "neuron"

    def __post_init__(self) -> None:
        if not 0 < self.lost < 1:
            raise BadArgument(f"lost is a share above 0 and below 1, got {self.lost}")
        for name in ("pressure", "clip"):
            if not getattr(self, name) > 0:
                raise BadArgument(f"{name} must be above 0, got {getattr(self, name)}")
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
        masks = Masks(model, self.placement, statistics="frozen", dropout=False)
        weights = [weight.requires_grad_() for weight in weights_of(masks.network) if self.weight_learning_rate]
        context.execution.place(masks).train()
        groups = [
            {"params": list(masks.factors), "lr": self.learning_rate},
            {"params": weights, "lr": self.weight_learning_rate},
        ]
        optimizer = torch.optim.SGD(groups[: 2 if weights else 1], momentum=self.momentum)
        optimizer.register_step_pre_hook(lambda *_: self._clip(groups))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        target = self.lost * len(clean) / (len(clean) + self.optimism)
        steering = Steering(target=target, gain=self.gain, pressure=self.pressure)
        paired = with_strong_views(clean, context, self.views) if self.consistency else None
        look = mixed if paired is None else mixed_and_strong

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del labels
            losses = [self._lost(teacher, masks, view, context) for view in look(inputs, context, generator)]
            pressure = steering.follow(float(losses[0].detach()))
            kept = losses[0] + self.consistency * sum(losses[1:])
            return 2 * (kept + pressure * torch.cat(list(masks.factors)).square().mean())

        def project() -> None:
            masks.clamp_()
            schedule.step()

        losses = tune(
            objective,
            optimizer,
            clean if paired is None else paired,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="consistency and distil",
            project=project,
        )
        return Tuned(model=masks.fold(), masks=masks.state(), losses=tuple(losses), notes=steering.notes(masks))

    def _clip(self, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            if group["params"]:
                nn.utils.clip_grad_norm_(group["params"], self.clip)

    def _rate(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.warmup * self.steps + 1)) * held_then_falling(step, self.steps)

    @staticmethod
    def _lost(teacher: nn.Module, student: nn.Module, view: View, context: Context) -> Tensor:
        seen, shown = view
        with torch.no_grad():
            wanted = context.task.answers(context.task.logits(context.forward(teacher, seen)))
        return information_lost(wanted, context.task.log_answers(context.task.logits(context.forward(student, shown))))


METHOD = ConsistencyDistil
