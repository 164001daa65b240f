"""Vanilla fine-tuning: all the weights go on learning, from clean samples alone.

Needs: labelled clean samples.
Serves: any network.
Source: BackdoorBench's `ft` (SGD 0.01 falling by a cosine, weight decay 5e-4, a hundred passes).
"""

from dataclasses import dataclass

from torch import nn

from detrojan.data.samples import Samples
from detrojan.tuning import Context, Tuned
from detrojan.weight_tuning import fine_tune, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """SGD on the task's loss under crop and flip; 300 batches of 128 are a hundred passes over 400 samples."""

    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        network = tunable(model, context)
        losses = fine_tune(
            network,
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))


METHOD = FineTuning
