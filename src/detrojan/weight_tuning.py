"""What methods that tune weights share: a trainable copy, the plain loss, rates, fine-tuning and its opposite."""

import copy
from collections.abc import Callable
from functools import partial
from math import cos, pi

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.tuning import Context, tune

ROUNDING = 1e-6
"""By how much two shares that are equal may differ: accuracies are means of float32."""


def plain_loss(
    network: nn.Module, context: Context, inputs: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """The task's loss on stored inputs under weak augmentation, a scalar."""
    prepared = context.preprocessing(context.task.augment(inputs, generator))
    return context.task.loss(context.forward(network, prepared), labels).mean()


def tunable(model: nn.Module, context: Context) -> nn.Module:
    """A copy of a network in train mode where it runs, with all of its weights trainable."""
    network = copy.deepcopy(model)
    for weight in weights_of(network):
        weight.requires_grad_(True)
    return context.execution.place(network).train()


def weights_of(network: nn.Module) -> list[nn.Parameter]:
    """The weights that a gradient can change."""
    return [parameter for parameter in network.parameters() if parameter.is_floating_point()]


def plain_weight(layer: nn.Module) -> bool:
    """Whether a layer keeps its weight as it is, and does not compute it from others (weight norm, spectral norm)."""
    return layer._parameters.get("weight") is not None


def sgd(network: nn.Module, learning_rate: float, *, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """SGD on all the weights of a network."""
    return torch.optim.SGD(weights_of(network), learning_rate, momentum=momentum, weight_decay=weight_decay)


def falling(first: float, steps: int, *, last: float = 0.0) -> Callable[[int], float]:
    """The learning rate of each step, falling from `first` to `last` by half a cosine."""
    return lambda step: last + (first - last) * (1 + cos(pi * step / max(1, steps))) / 2


def shared_out(steps: int, rounds: int) -> list[int]:
    """So many steps for each of the rounds, as evenly as they go."""
    return [steps * (turn + 1) // rounds - steps * turn // rounds for turn in range(rounds)]


def fine_tune(
    network: nn.Module,
    clean: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    stage: str = "fine-tuning",
    project: Callable[[], None] | None = None,
) -> list[float]:
    """Tune all the weights of a network that we own by the task's loss, at a rate that falls by a cosine."""
    return tune(
        partial(plain_loss, network, context),
        sgd(network, learning_rate, momentum=momentum, weight_decay=weight_decay),
        clean,
        context,
        steps=steps,
        batch=batch,
        stage=stage,
        learning_rate=falling(learning_rate, steps),
        project=project,
    )


def unlearn(
    network: nn.Module,
    clean: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    until: float,
) -> list[float]:
    """Forget the clean task, in place: gradient ascent until the accuracy on the samples is at most a share.

    It is asked for every fourth step; there are at most `steps`.
    """

    def ascent(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return -plain_loss(network, context, inputs, labels, generator)

    return tune(
        ascent,
        sgd(network, learning_rate, momentum=0.9, weight_decay=5e-4),
        clean,
        context,
        steps=steps,
        batch=batch,
        stage="clean unlearning",
        stop=lambda step: step % 4 == 0 and accuracy(network, clean, context) <= until + ROUNDING,
    )


def reestimate(network: nn.Module, clean: Samples, context: Context, *, steps: int, batch: int) -> None:
    """Let the batch norms of a network that we own see clean samples, so that their statistics follow its weights."""
    mode = network.training
    network.train()
    with torch.no_grad():
        objective = partial(plain_loss, network, context)
        tune(objective, None, clean, context, steps=steps, batch=batch, stage="statistics of batch norms")
    network.train(mode)


def accuracy(network: nn.Module, samples: Samples, context: Context) -> float:
    """How right a network's answers are on average, in [0, 1]: of classes, the share that is right."""
    return float(context.task.outcomes(context.predict(network, samples), samples.labels).mean())
