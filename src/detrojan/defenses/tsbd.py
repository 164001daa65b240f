"""TSBD: neurons that move most while the clean task is unlearned are set to zero, then tuned where it is flat.

Needs: labelled clean samples.
Serves: networks with convolutions or linear layers inside.
Source: Lin et al., "Unveiling and Mitigating Backdoor Vulnerabilities based on Unlearning Weight Changes and Backdoor
Activeness" (NeurIPS 2024). The authors' code was not at hand: the two stages follow the paper, the values of
`neurons`, `weights`, `radius` and `blend` are from memory of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, Unsupported
from detrojan.functional import Replaced, holding_statistics, named_weights, stepped, with_gradients
from detrojan.placement import outputs_of
from detrojan.sites import CONVOLUTIONS
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, plain_loss, plain_weight, sgd, tunable, unlearn


@dataclass(frozen=True, slots=True, kw_only=True)
class TSBD:
    """Clean unlearning, partial zeroing, and fine-tuning with a penalty on the gradient's norm.

    Args:
        steps: of the fine-tuning.
        unlearning_steps: at most so many of the gradient ascent.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD, of both stages.
        unlearned: the ascent ends when the accuracy on its samples is at most this share; asked every fourth step.
        neurons: the share of all neurons, those that moved most, of which weights are set to zero.
        weights: the share of such a neuron's weights, those that moved most.
        radius: how far along the gradient the second gradient is taken.
        blend: the weight of the second gradient; the first has the rest.
    """

    steps: int = 160
    unlearning_steps: int = 80
    batch: int = 128
    learning_rate: float = 0.01
    unlearned: float = 0.1
    neurons: float = 0.15
    weights: float = 0.7
    radius: float = 0.05
    blend: float = 0.7

    def __post_init__(self) -> None:
        for name in ("neurons", "weights", "blend", "unlearned"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadArgument(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: there is no convolution or linear layer but that of the outputs.
            Diverged: the loss became NaN or infinite.
        """
        context.need_whole_weights("tsbd")
        network, unlearned = tunable(model, context), tunable(model, context)
        _layers(network)
        unlearning = unlearn(
            unlearned,
            clean,
            context,
            steps=self.unlearning_steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            until=self.unlearned,
        )
        changed = self._zero(network, unlearned)
        weights = named_weights(network)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            loss = plain_loss(network, context, inputs, labels, generator)
            here = context.gradients(loss, list(weights.values()))
            with holding_statistics(network):
                ahead = Replaced(network, stepped(weights, here, self.radius))
                further = plain_loss(ahead, context, inputs, labels, generator)
            there = context.gradients(further, list(weights.values()))
            blended = [torch.lerp(h, t, self.blend) for h, t in zip(here, there, strict=True)]
            return with_gradients(loss, list(weights.values()), blended)

        losses = tune(
            objective,
            sgd(network, self.learning_rate, momentum=0.9, weight_decay=5e-4),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="TSBD tunes",
            learning_rate=falling(self.learning_rate, self.steps),
        )
        return Tuned(model=network, masks={}, losses=(*unlearning, *losses), notes={"neurons changed": changed})

    @torch.no_grad()
    def _zero(self, network: nn.Module, unlearned: nn.Module) -> int:
        """Set to zero what moved most, in place; returns the number of neurons."""
        pairs = zip(_layers(network), _layers(unlearned), strict=True)
        changes = [(ours, (ours - theirs).abs().flatten(1)) for ours, theirs in pairs]
        moved = torch.cat([change.sum(1) for _, change in changes])
        chosen = _largest(moved[None], self.neurons).flatten().split([len(change) for _, change in changes])
        for (weight, change), neurons in zip(changes, chosen, strict=True):
            weight[(_largest(change, self.weights) & neurons[:, None]).view_as(weight)] = 0
        return sum(int(neurons.sum()) for neurons in chosen)


def _largest(values: Tensor, share: float) -> Tensor:
    """Which of each row (N, D) are the largest: a share of them, at least one."""
    found = values.topk(max(1, round(share * values.shape[1]))).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, found, True)


def _layers(network: nn.Module) -> list[Tensor]:
    """The weights whose rows are neurons."""
    outputs = outputs_of(network)
    kinds = (*CONVOLUTIONS, nn.Linear)
    found = [m.weight for m in network.modules() if isinstance(m, kinds) and m not in outputs and plain_weight(m)]
    if not found:
        raise Unsupported(
            "tsbd needs convolutions or linear layers with plain weights inside the network, and there are none"
        )
    return found


METHOD = TSBD
