"""Whole-neuron masks: weight and bias of a norm masked together, so that a mask of 0 leaves nothing of the neuron.

Found in the project's own first measurements, where it removed more than masks on the norms' weights alone.

Needs: labelled clean samples.
Serves: networks with norms; others with `placement=channel`.
Source: this project.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from detrojan.data.samples import Samples
from detrojan.masks import Masks, Placement
from detrojan.tuning import Context, Tuned, mixup_loss, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronMasks:
    """Cross-entropy under MixUp over whole-neuron masks in [0, 1]: no floor, no regulariser, a rate of 0.2."""

    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.2
    momentum: float = 0.95
    placement: Placement = "neuron"

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has nothing that can carry such a mask.
            Diverged: the loss became NaN or infinite.
        """
        masks = Masks(model, self.placement, statistics="batch")
        context.execution.place(masks).train()
        losses = tune(
            partial(mixup_loss, masks, context),
            torch.optim.SGD(masks.factors, self.learning_rate, momentum=self.momentum),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="neuron masks",
            project=masks.clamp_,
        )
        return Tuned(model=masks.fold(), masks=masks.state(), losses=tuple(losses))


METHOD = NeuronMasks
