"""ABL, anti-backdoor learning: learn anew from the suspect training set, tell the poison by its low loss, unlearn it.

Needs: the training set of the victim, which may be poisoned; clean samples are not read.
Serves: networks whose layers know how to reset their weights.
Source: Li et al., "Anti-Backdoor Learning" (NeurIPS 2021), with BackdoorBench's lengths. As in the authors' code, what
isolates and what unlearns sees the images as they are, and only the training between is augmented: crops would hide a
trigger from the few epochs in which it must be learned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, Unsupported
from detrojan.tuning import Context, Objective, Tuned, tune
from detrojan.weight_tuning import falling, plain_loss, sgd, tunable

Pace = Callable[[int], Callable[[int], float]]
"""The learning rate of each of so many steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ABL:
    """The victim lends its architecture alone; its weights are drawn anew.

    Args:
        isolating_epochs: of training whose loss is held up, so that only what is learned fast gets below.
        training_epochs: of training without the samples that got below.
        unlearning_epochs: of gradient ascent on those samples.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD: held while isolating, falling by a cosine in the training.
        unlearning_rate: of the ascent.
        level: the loss that is held: each batch's loss counts with the sign of its distance to it.
        isolated: the share of the training set that is taken for poison.
    """

    needs_training_set: ClassVar[bool] = True
    isolating_epochs: float = 20
    training_epochs: float = 60
    unlearning_epochs: float = 20
    batch: int = 128
    learning_rate: float = 0.1
    unlearning_rate: float = 5e-4
    level: float = 0.5
    isolated: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.isolated < 1:
            raise BadArgument(f"isolated is a share above 0 and below 1, got {self.isolated}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Train a network of the model's class.

        Raises:
            BadArgument: no training set was given.
            Unsupported: layers hold weights and cannot reset them.
            Diverged: the loss became NaN or infinite.
        """
        context.need_one_class("abl")
        del clean
        context.need_whole_weights("abl")
        if context.training is None:
            raise BadArgument("abl learns from the victim's training set; give it as `training` (--training)")
        suspect = context.training
        network = tunable(model, context)
        with context.seeds.seeded("new weights of ABL"):
            reset(network)

        def bare(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del generator
            return context.task.loss(context.forward(network, context.preprocessing(inputs)), labels).mean()

        def held_up(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            loss = bare(inputs, labels, generator)
            return loss * torch.sign(loss.detach() - self.level)

        def ascent(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            return -bare(inputs, labels, generator)

        def train(objective: Objective, samples: Samples, epochs: float, pace: Pace, stage: str) -> list[float]:
            steps = max(1, round(epochs * len(samples) / self.batch))
            optimizer = sgd(network.train(), self.learning_rate, momentum=0.9, weight_decay=1e-4)
            return tune(
                *(objective, optimizer, samples, context),
                steps=steps,
                batch=self.batch,
                stage=f"ABL {stage}",
                learning_rate=pace(steps),
            )

        def held(rate: float) -> Pace:
            return lambda steps: lambda step: rate

        losses = train(held_up, suspect, self.isolating_epochs, held(self.learning_rate), "isolates")
        each = F.cross_entropy(context.predict(network, suspect), suspect.labels, reduction="none")
        order, count = each.argsort(), max(1, round(self.isolated * len(suspect)))
        poison, rest = suspect.subset(order[:count]), suspect.subset(order[count:].sort().values)
        learn = partial(plain_loss, network, context)
        losses += train(learn, rest, self.training_epochs, partial(falling, self.learning_rate), "trains")
        losses += train(ascent, poison, self.unlearning_epochs, held(self.unlearning_rate), "unlearns")
        return Tuned(model=network, masks={}, losses=tuple(losses), notes={"isolated": count})


def reset(network: nn.Module) -> None:
    """Draw all weights anew, in place, each layer by its own rule.

    Raises:
        Unsupported: a module holds weights of its own and has no such rule.
    """
    for name, module in network.named_modules():
        if callable(renew := getattr(module, "reset_parameters", None)):
            renew()
        elif any(True for _ in module.parameters(recurse=False)):
            raise Unsupported(f"abl draws all weights anew, and {name!r} ({type(module).__name__}) has no rule for it")


METHOD = ABL
