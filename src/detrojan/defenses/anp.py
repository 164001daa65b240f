"""ANP, adversarial neuron pruning: neurons whose small disturbance turns clean answers are cut off.

Needs: labelled clean samples.
Serves: networks with norms.
Source: Wu and Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models" (NeurIPS 2021) and its code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.functional import Replaced
from detrojan.masks import Masks
from detrojan.pruning import parts, tune_and_cut
from detrojan.tuning import Context, Tuned
from detrojan.weight_tuning import plain_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ANP:
    """Masks on the norms' weights learn to keep the loss low while weights and biases of the norms are disturbed.

    Args:
        steps: gradient steps of the masks.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD with momentum 0.9.
        noise: the reach of the disturbance, a share of weight and bias: drawn from [-noise, noise], then one step of
            `noise` along the sign of the loss's gradient.
        clean_share: the weight of the undisturbed loss; the disturbed one has the rest.
        threshold: masks at most this high are cut off; None takes the largest by the rule.
        tolerance: of the rule: the largest loss of accuracy, as a share.
    """

    steps: int = 2000
    batch: int = 128
    learning_rate: float = 0.2
    noise: float = 0.4
    clean_share: float = 0.2
    threshold: float | None = None
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if self.noise <= 0 or not 0 <= self.clean_share <= 1:
            raise BadArgument(f"noise must be > 0 and clean_share in [0, 1], got {self.noise} and {self.clean_share}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has no norm that can carry a mask.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("anp")
        masks = Masks(model, "norm", statistics="batch")
        context.execution.place(masks).train()
        work, held_out = parts(clean, context)
        biases = {
            name: parameter
            for name, parameter in masks.network.named_parameters()
            if name.removesuffix(".bias") in masks.names and name.endswith(".bias")
        }

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            def loss_of(noise: list[Tensor]) -> Tensor:
                return plain_loss(_disturbed(masks, biases, noise), context, inputs, labels, generator)

            reach = [*masks.factors, *biases.values()]
            start = [_uniform(each, self.noise, generator).requires_grad_() for each in reach]
            slopes = context.gradients(loss_of(start), start)
            worst = [n.detach() + self.noise * s.sign() for n, s in zip(start, slopes, strict=True)]
            calm = plain_loss(masks, context, inputs, labels, generator)
            return self.clean_share * calm + (1 - self.clean_share) * loss_of(worst)

        return tune_and_cut(
            model,
            masks,
            objective,
            work,
            held_out,
            context,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            stage="ANP",
            threshold=self.threshold,
            tolerance=self.tolerance,
        )


def _disturbed(masks: Masks, biases: dict[str, nn.Parameter], noise: list[Tensor]) -> Replaced:
    """The masked network with m + d in place of each mask and (1 + d) b in place of each bias."""
    factors = [factor + each for factor, each in zip(masks.factors, noise, strict=False)]
    shifted = [bias * (1 + each) for bias, each in zip(biases.values(), noise[len(factors) :], strict=True)]
    names = [f"factors.{index}" for index in range(len(factors))] + [f"network.{name}" for name in biases]
    return Replaced(masks, dict(zip(names, [*factors, *shifted], strict=True)))


def _uniform(like: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(like.shape, generator=generator, device=generator.device) - 1) * reach


METHOD = ANP
