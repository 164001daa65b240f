"""FIP: fine-tuning into a smooth minimum, by a penalty on the trace of the Fisher information.

Needs: labelled clean samples.
Serves: any network.
Source: Karim et al., "Fisher Information Guided Purification against Backdoor Attacks" (CCS 2024). The trace is
estimated by the squared gradient of the batch's loss; the authors' code projects the gradient on random directions of
mean zero, which estimates nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.functional import differentiable_twice, slopes
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import plain_loss, sgd, tunable, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FIP:
    """The task's loss plus, every few steps, `penalty` times the squared gradient.

    Args:
        steps: gradient steps.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD with `momentum`.
        momentum: see `learning_rate`.
        penalty: the weight of the trace.
        every: the penalty counts in each of so many steps.
    """

    steps: int = 2000
    batch: int = 128
    learning_rate: float = 0.005
    momentum: float = 0.95
    penalty: float = 0.5
    every: int = 5

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_one_process("fip", "differentiates gradients")
        network = tunable(model, context)
        weights, done = weights_of(network), 0

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            nonlocal done
            done += 1
            if done % self.every:
                return plain_loss(network, context, inputs, labels, generator)
            with differentiable_twice():
                loss = plain_loss(network, context, inputs, labels, generator)
            context.meter.backwards += 1
            found = slopes(loss, weights, create_graph=True)
            return loss + self.penalty * torch.stack([slope.square().sum() for slope in found]).sum()

        losses = tune(
            objective,
            sgd(network, self.learning_rate, momentum=self.momentum, weight_decay=0.0),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="FIP",
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))


METHOD = FIP
