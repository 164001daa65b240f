"""Fine-Pruning: features that clean samples hardly use are cut off from the class scores, then all is fine-tuned.

Needs: labelled clean samples.
Serves: networks whose class scores come from one linear layer.
Source: Liu et al., "Fine-Pruning" (RAID 2018), as BackdoorBench does it, but for its faults: the accuracy that decides
is of held-out clean samples, and what is cut stays cut while the rest is tuned. What may be lost is counted in points,
not as a share of the accuracy, and of all levels that keep to it the furthest is taken.
"""

from dataclasses import dataclass

import torch
from torch import nn

from detrojan.data.samples import Samples
from detrojan.pruning import furthest, parts
from detrojan.tracing import features, head_of
from detrojan.tuning import Context, Tuned
from detrojan.weight_tuning import fine_tune, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class FinePruning:
    """The features are cut in the order of their mean activation, by hundredths.

    Args:
        steps: of fine-tuning after the cut.
        batch: examples a step, drawn with replacement.
        learning_rate: of the fine-tuning (SGD), falling by a cosine.
        tolerance: the largest loss of accuracy, as a share, that the cut alone may bring.
    """

    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.01
    tolerance: float = 0.1

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: not one linear layer makes the class scores.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("fine_pruning")
        network = tunable(model, context)
        head = head_of(network)
        work, held_out = parts(clean, context)
        used = features(network, head, work, context).flatten(0, -2).mean(0)
        order, whole = used.argsort().to(context.execution.device), head.weight.detach().clone()

        def prune(share: float) -> nn.Module:
            with torch.no_grad():
                head.weight.copy_(whole)
                head.weight[:, order[: round(share * len(order))]] = 0
            return network

        shares = [percent / 100 for percent in range(100)]
        _, notes = furthest(prune, shares, model, held_out, context, tolerance=self.tolerance, level_is="share cut")
        kept = (head.weight != 0).to(head.weight.dtype)

        @torch.no_grad()
        def keep_cut() -> None:
            head.weight.mul_(kept)

        losses = fine_tune(
            network,
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            project=keep_cut,
        )
        return Tuned(model=network, masks={}, losses=tuple(losses), notes=notes)


METHOD = FinePruning
