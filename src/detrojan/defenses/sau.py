"""SAU, shared adversarial unlearning: unlearn the perturbations that fool the victim and its tuned copy alike.

Needs: labelled clean samples.
Serves: any network.
Source: Wei et al., "Shared Adversarial Unlearning" (NeurIPS 2023), as BackdoorBench does it
(samples are not augmented, and perturbed ones may leave the range of pixels).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.perturbations import ascended, not_given
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import tunable, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SAU:
    """Each step finds a perturbation for each input, and takes the label that the victim then gives from the copy.

    Args:
        steps: gradient steps (Adam); a hundred passes over 400 samples in batches of 256.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam.
        inner_steps: of finding perturbations.
        bound: the largest change of a pixel, in the unit of the pixels; also the size of a step, and the start.
        fooling: the weight of fooling each of the two networks.
        sharing: the weight of fooling them into the same answer.
        statistics: `frozen`: batch norms keep theirs; `batch`: they see clean and perturbed inputs in one batch while
            the network is tuned, and take those statistics over (BackdoorBench's `train_mode`).
    """

    steps: int = 160
    batch: int = 256
    learning_rate: float = 1e-4
    inner_steps: int = 5
    bound: float = 0.2
    fooling: float = 0.01
    sharing: float = 1.0
    statistics: Literal["batch", "frozen"] = "frozen"

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_numbers("sau", clean)
        context.need_one_class("sau")
        context.need_whole_weights("sau")
        network, victim = tunable(model, context), tunable(model, context).eval()

        def scores_of(network: nn.Module, pixels: Tensor) -> Tensor:
            return context.task.logits(context.forward(network, context.preprocessing(pixels)))

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del generator
            pixels = pixels_of(inputs)

            def gain(perturbed: Tensor) -> Tensor:
                ours, theirs = scores_of(network, perturbed), scores_of(victim, perturbed)
                return self.fooling * _fooled(ours, theirs, labels) - self.sharing * _apart(ours, theirs, labels)

            network.eval()
            perturbed = ascended(
                gain,
                pixels,
                context,
                start=torch.full_like(pixels, self.bound),
                steps=self.inner_steps,
                step_size=self.bound,
                bound=self.bound,
                norm="linf",
            )
            with torch.no_grad():
                answers, wrong = scores_of(victim, torch.cat([pixels, perturbed])).argmax(1).chunk(2)
            network.train(self.statistics == "batch")
            calm, moved = scores_of(network, torch.cat([pixels, perturbed])).chunk(2)  # in one batch, for the norms
            fooled = (wrong != labels) & (wrong != answers)
            return F.cross_entropy(calm, labels) + (not_given(moved, wrong) * fooled).mean()

        losses = tune(
            objective,
            torch.optim.Adam(weights_of(network), self.learning_rate),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="SAU",
        )
        return Tuned(model=network, masks={}, losses=tuple(losses))


def _fooled(ours: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of the two networks over the inputs on which they still give the label."""
    parts = [
        (F.cross_entropy(scores, labels, reduction="none") * (scores.argmax(1) == labels)).sum()
        for scores in (ours, theirs)
    ]
    return (parts[0] + parts[1]) / (2 * len(labels))


def _apart(ours: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
    """The Jensen-Shannon divergence over the inputs on which the networks do not give the same wrong label."""
    shared = (ours.argmax(1) == theirs.argmax(1)) & (ours.argmax(1) != labels)
    p, q = ours.softmax(1), theirs.softmax(1)
    middle = ((p + q) / 2).clamp_min(1e-8).log()
    divergence = (F.kl_div(middle, p, reduction="none") + F.kl_div(middle, q, reduction="none")).sum(1) / 2
    return (divergence * ~shared).sum() / len(labels)


METHOD = SAU
