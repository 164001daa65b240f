"""FT-SAM: fine-tuning where each step's gradient is taken at the worst weights nearby, in proportion to the weights.

Needs: labelled clean samples.
Serves: any network.
Source: Zhu et al., "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization" (ICCV 2023).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.functional import Replaced, holding_statistics, named_weights, stepped
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, sgd, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class FTSAM:
    """Cross-entropy with smoothed labels under adaptive sharpness-aware minimisation.

    Args:
        steps: gradient steps, each of two passes.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD, falling by a cosine.
        radius: rho, the length of the step to the worst weights nearby.
        label_smoothing: see `torch.nn.functional.cross_entropy`; tags are not smoothed.
        weight_decay: of SGD.
    """

    steps: int = 300
    batch: int = 128
    learning_rate: float = 0.01
    radius: float = 2.0
    label_smoothing: float = 0.1
    weight_decay: float = 5e-4

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("ft_sam")
        network = tunable(model, context)
        weights = named_weights(network)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            prepared = context.preprocessing(context.task.augment(inputs, generator))

            def loss_of(network: nn.Module) -> Tensor:
                outputs = context.forward(network, prepared)
                return context.task.loss(outputs, labels, label_smoothing=self.label_smoothing).mean()

            slopes = context.gradients(loss_of(network), list(weights.values()))
            worst = Replaced(network, stepped(weights, slopes, self.radius, adaptive=True))
            with holding_statistics(network):
                return loss_of(worst)

        losses = tune(
            objective,
            sgd(network, self.learning_rate, momentum=0.9, weight_decay=self.weight_decay),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="FT-SAM",
            learning_rate=falling(self.learning_rate, self.steps),
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))


METHOD = FTSAM
