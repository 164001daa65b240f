"""Super-fine-tuning: the learning rate swings up to a large value and back, at first high, later low.

Needs: labelled clean samples.
Serves: any network.
Source: Sha et al., "Fine-Tuning Is All You Need to Mitigate Backdoor Attacks" (2022); rates as in backdoor-toolbox,
save for the first peak: its 5.0 is for batches of 256 from 10,000 samples.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import plain_loss, tunable, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperFineTuning:
    """SGD without momentum, its rate a triangle between `base` and a peak, again and again.

    Args:
        steps: gradient steps in all.
        batch: examples a step, drawn with replacement.
        base: the lowest rate.
        first_peak: the highest rate in the first `swinging` of the steps (a share).
        last_peak: the highest rate afterwards.
        rise: the steps from `base` to a peak, and as many back.
        swinging: see `first_peak`.
    """

    steps: int = 300
    batch: int = 128
    base: float = 0.03
    first_peak: float = 1.0
    last_peak: float = 0.1
    rise: int = 10
    swinging: float = 0.4

    def __post_init__(self) -> None:
        if self.rise < 1 or not 0 <= self.swinging <= 1:
            raise BadArgument(f"rise must be >= 1 and swinging lie in [0, 1], got {self.rise} and {self.swinging}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        network = tunable(model, context)
        losses = tune(
            partial(plain_loss, network, context),
            torch.optim.SGD(weights_of(network), self.base),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="super-fine-tuning",
            learning_rate=self.rate,
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        peak = self.first_peak if step < self.swinging * self.steps else self.last_peak
        height = 1 - abs(step % (2 * self.rise) - self.rise) / self.rise
        return self.base + (peak - self.base) * height


METHOD = SuperFineTuning
