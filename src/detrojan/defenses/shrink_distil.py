"""Shrink and distil: pull every neuron down while the victim's own answers on clean inputs are kept.

Whole-neuron masks under frozen batch-norm statistics. What clean inputs need resists the pull; what only a trigger
needs does not. Labels are not used, so a few images go as far as augmentation carries them. Found in the project's own
first measurements.

Needs: clean samples; their labels are not read.
Serves: networks with norms; others with `placement=channel`.
Source: this project.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.augmentation import brightness, pixels_of
from detrojan.data.samples import Samples
from detrojan.defenses._information import information_lost
from detrojan.defenses._steering import Steering, held_then_falling
from detrojan.errors import BadArgument
from detrojan.masks import Masks, Placement
from detrojan.tuning import Context, Tuned, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkDistil:
    """Minimise (information lost) + pressure x (mean squared mask), and steer the pressure to a stated loss.

    The square pulls in proportion to what is left of a neuron, so that the pull alone never shuts one: behind a ReLU
    it would get no gradient and could not come back.

    Args:
        lost: the share in (0, 1) of the victim's information about mixed clean inputs that may be lost. This says how
            far to go, in a unit that does not depend on the network or on the number of classes.
        optimism: with N clean samples the target is `lost` x N / (N + optimism). Samples that are tuned on lose less
            than others do, the more so the fewer they are.
        steps: gradient steps; the learning rate is held for the first half and falls by a cosine in the second.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD with `momentum`.
        temperature: of both networks' scores in the divergence.
        pressure: at the first step; it then grows or falls by at most `gain` a step, as a logarithm.
        gain: see `pressure`.
        placement: where masks sit; a network without norms needs `channel`.
    """

    lost: float = 0.1
    optimism: float = 6.0
    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.2
    momentum: float = 0.9
    temperature: float = 1.0
    pressure: float = 0.15
    gain: float = 0.03
    placement: Placement = "neuron"

    def __post_init__(self) -> None:
        if not 0 < self.lost < 1:
            raise BadArgument(f"lost is a share above 0 and below 1, got {self.lost}")
        if self.optimism < 0:
            raise BadArgument(f"optimism is a number of samples, at least 0, got {self.optimism}")
        if self.pressure <= 0:
            raise BadArgument(f"pressure starts above 0, got {self.pressure}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model; labels are not read.

        Raises:
            Unsupported: the network has nothing that can carry such a mask.
            Diverged: the loss became NaN or infinite.
        """
        teacher = context.execution.placed(model).eval()
        masks = Masks(model, self.placement, statistics="frozen", dropout=False)
        context.execution.place(masks).train()
        target = self.lost * len(clean) / (len(clean) + self.optimism)
        steering = Steering(target=target, gain=self.gain, pressure=self.pressure)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del labels
            views = self._views(inputs, context, generator)
            with torch.no_grad():
                wanted = context.task.logits(context.forward(teacher, views)) / self.temperature
            given = context.task.logits(context.forward(masks, views)) / self.temperature
            lost = information_lost(context.task.answers(wanted), context.task.log_answers(given))
            pressure = steering.follow(float(lost.detach()))
            return 2 * (lost + pressure * torch.cat(list(masks.factors)).square().mean())

        losses = tune(
            objective,
            torch.optim.SGD(masks.factors, self.learning_rate, momentum=self.momentum),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="shrink and distil",
            learning_rate=lambda step: self.learning_rate * held_then_falling(step, self.steps),
            project=masks.clamp_,
        )
        return Tuned(model=masks.fold(), masks=masks.state(), losses=tuple(losses), notes=steering.notes(masks))

    def _views(self, inputs: Tensor, context: Context, generator: torch.Generator) -> Any:
        """Clean inputs in disguise: crop, flip, brightness, MixUp; prepared for the network."""
        pixels = pixels_of(context.task.augment(inputs, generator))
        varied = brightness(pixels, generator) if pixels.is_floating_point() else pixels
        return context.task.mixup(context.preprocessing(varied), generator).inputs


METHOD = ShrinkDistil
