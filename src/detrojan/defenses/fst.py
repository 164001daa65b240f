"""FST, feature shift tuning: a new head that must point elsewhere than the victim's drags the features along.

Needs: labelled clean samples.
Serves: networks whose class scores come from one linear layer.
Source: Min et al., "Towards Stable Backdoor Purification through Feature Shift Tuning" (NeurIPS 2023) and its code.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.tracing import head_of
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, plain_loss, sgd, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class FST:
    """The task's loss plus `alpha` times the inner product of the new head and the old; the head's norm is kept.

    `alpha` is for ten classes; with many, it should be near 0. `steps` are ten passes over a thousand samples.
    """

    steps: int = 80
    batch: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    alpha: float = 0.1

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: not one linear layer makes the class scores.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("fst")
        network = tunable(model, context)
        head = head_of(network)
        old = head.weight.detach().clone()
        length, reach = old.norm(), 1 / sqrt(head.in_features)
        generator = context.seeds.generator("FST's head", context.execution.device)
        with torch.no_grad():
            for tensor in head.parameters():
                tensor.copy_((2 * torch.rand(tensor.shape, generator=generator, device=generator.device) - 1) * reach)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            return plain_loss(network, context, inputs, labels, generator) + self.alpha * (head.weight * old).sum()

        @torch.no_grad()
        def keep_length() -> None:
            head.weight.mul_(length / head.weight.norm())

        losses = tune(
            objective,
            sgd(network, self.learning_rate, momentum=self.momentum, weight_decay=0.0),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="FST",
            learning_rate=falling(self.learning_rate, self.steps),
            project=keep_length,
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))


METHOD = FST
