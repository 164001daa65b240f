"""MCR, mode connectivity repair: a point on a curve of low loss between the victim and a fine-tuned copy of it.

Needs: labelled clean samples.
Serves: any network.
Source: Zhao et al., "Bridging Mode Connectivity in Loss Landscapes and Adversarial Robustness" (ICLR 2020).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.functional import Replaced, named_weights
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, fine_tune, plain_loss, reestimate, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class MCR:
    """A quadratic Bezier curve whose one free point is tuned; t = 0 is the victim, t = 1 the fine-tuned copy.

    Args:
        steps: of the curve's tuning, each at a t drawn from [0, 1].
        tuning_steps: of the fine-tuning that makes the other end.
        batch: examples a step, drawn with replacement.
        learning_rate: of the free point (SGD), falling by a cosine.
        tuning_learning_rate: of the fine-tuning.
        t: where on the curve the result lies.
    """

    steps: int = 300
    tuning_steps: int = 300
    batch: int = 128
    learning_rate: float = 0.01
    tuning_learning_rate: float = 0.01
    t: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.t <= 1:
            raise BadArgument(f"t, the place on the curve, must lie in [0, 1], got {self.t}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("mcr")
        end = tunable(model, context)
        first = {name: weight.detach().clone() for name, weight in named_weights(end).items()}
        tuning = fine_tune(
            end, clean, context, steps=self.tuning_steps, batch=self.batch, learning_rate=self.tuning_learning_rate
        )
        curve = _Curve(end, first)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            curve.t = float(torch.rand(1, generator=generator, device=generator.device))
            return plain_loss(curve, context, inputs, labels, generator)

        losses = tune(
            objective,
            torch.optim.SGD(curve.free.parameters(), self.learning_rate, momentum=0.9),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="MCR",
            learning_rate=falling(self.learning_rate, self.steps),
        )
        network = curve.settled(self.t)
        reestimate(network, clean, context, steps=max(1, self.steps // 10), batch=self.batch)
        return Tuned(model=network, masks={}, losses=(*tuning, *losses))


class _Curve(nn.Module):
    """A network whose weights lie on a curve from `first` to those that it has now."""

    def __init__(self, network: nn.Module, first: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network.train()
        self.first, self.last = first, {name: weight.detach() for name, weight in named_weights(network).items()}
        self.free = nn.ParameterList([(first[name] + last) / 2 for name, last in self.last.items()])
        self.t = 0.0

    def weights(self, t: float) -> dict[str, Tensor]:
        """The weights at a place on the curve."""
        return {
            name: (1 - t) ** 2 * first + 2 * t * (1 - t) * free + t**2 * last
            for (name, first), free, last in zip(self.first.items(), self.free, self.last.values(), strict=True)
        }

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return Replaced(self.network, self.weights(self.t))(*args, **kwargs)

    @torch.no_grad()
    def settled(self, t: float) -> nn.Module:
        """The network itself, with the weights of a place on the curve."""
        found = {name: weight.clone() for name, weight in self.weights(t).items()}
        for name, weight in named_weights(self.network).items():
            weight.copy_(found[name])
        return self.network


METHOD = MCR
