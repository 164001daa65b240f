"""RNP, reconstructive neuron pruning: unlearn the clean task, recover it by masks; what does not come back is cut.

Needs: labelled clean samples.
Serves: networks with norms.
Source: Li et al., "Reconstructive Neuron Pruning for Backdoor Defense" (ICML 2023) and its code (whose clipping of
gradients comes before they are there, and so is left out).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.masks import Masks
from detrojan.pruning import parts, tune_and_cut
from detrojan.tuning import Context, Tuned
from detrojan.weight_tuning import plain_loss, tunable, unlearn


@dataclass(frozen=True, slots=True, kw_only=True)
class RNP:
    """Gradient ascent on all the weights, then descent on masks of the norms' weights; the victim itself is cut.

    Args:
        steps: at most so many of the ascent, and exactly so many of the recovery.
        batch: examples a step, drawn with replacement.
        learning_rate: of the ascent (SGD).
        unlearned: the ascent ends when the accuracy on its samples is at most this share; asked every fourth step.
        mask_learning_rate: of the recovery (SGD with momentum 0.9).
        threshold: masks at most this high are cut off; None takes the largest by the rule.
        tolerance: of the rule: the largest loss of accuracy, as a share.
    """

    steps: int = 80
    batch: int = 128
    learning_rate: float = 0.01
    unlearned: float = 0.2
    mask_learning_rate: float = 0.2
    threshold: float | None = None
    tolerance: float = 0.05

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has no norm that can carry a mask.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("rnp")
        work, held_out = parts(clean, context)
        network = tunable(model, context)

        unlearning = unlearn(
            network,
            work,
            context,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            until=self.unlearned,
        )
        masks = Masks(network, "norm", statistics="batch")
        context.execution.place(masks).train()

        def recovery(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            return 0.2 * plain_loss(masks, context, inputs, labels, generator)

        found = tune_and_cut(
            model,
            masks,
            recovery,
            work,
            held_out,
            context,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.mask_learning_rate,
            stage="RNP recovers",
            threshold=self.threshold,
            tolerance=self.tolerance,
        )
        return replace(found, losses=(*unlearning, *found.losses))


METHOD = RNP
