"""I-BAU: adversarial unlearning of one perturbation for all inputs, by implicit hypergradients.

Needs: labelled clean samples.
Serves: any network.
Source: Zeng et al., "Adversarial Unlearning of Backdoors via Implicit Hypergradient" (ICLR 2022) and its code, which
perturbs no sample at all in batches of fewer than a hundred; here at least one is. The code's hypergradient takes the
inner loss of its first batch throughout; here it is that of the current one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.functional import constant, differentiable_twice, slopes, with_gradients
from detrojan.perturbations import universal
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import shared_out, tunable, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class IBAU:
    """Rounds of finding a perturbation and of unlearning it, in eval mode.

    Args:
        rounds: how often a new perturbation is found.
        steps: of unlearning (Adam), over all rounds; a pass over 500 samples in each.
        inner_steps: of finding a perturbation (SGD at a rate of 10), each round; a pass over 500 samples.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam, as in BackdoorBench; the authors' 1e-3 is for 5,000 samples.
        penalty: on the squared length of the perturbation.
        perturbed: the share of a batch that gets the perturbation while it is unlearned.
        iterations: of the fixed point that the hypergradient is.
        inner_rate: of the gradient step whose fixed point that is.
    """

    rounds: int = 5
    steps: int = 25
    inner_steps: int = 5
    batch: int = 100
    learning_rate: float = 1e-4
    penalty: float = 1e-3
    perturbed: float = 0.01
    iterations: int = 5
    inner_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.iterations < 1:
            raise BadArgument(f"rounds and iterations must be at least 1, got {self.rounds} and {self.iterations}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_numbers("ibau", clean)
        context.need_one_process("ibau", "differentiates gradients")
        network = tunable(model, context).eval()
        weights, losses = weights_of(network), list[float]()
        optimizer = torch.optim.Adam(weights, self.learning_rate)
        for turn, steps in enumerate(shared_out(self.steps, self.rounds)):
            shift = universal(
                constant(network),
                clean,
                context,
                steps=self.inner_steps,
                batch=self.batch,
                learning_rate=10.0,
                penalty=self.penalty,
                stage=f"I-BAU perturbs, round {turn + 1}",
            ).requires_grad_()

            def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator, shift: Tensor = shift) -> Tensor:
                return self._unlearn(network, weights, shift, context, inputs, labels, generator)

            stage = f"I-BAU unlearns, round {turn + 1}"
            losses += tune(objective, optimizer, clean, context, steps=steps, batch=self.batch, stage=stage)
        return Tuned(model=network, masks={}, losses=tuple(losses))

    def _unlearn(
        self,
        network: nn.Module,
        weights: list[nn.Parameter],
        shift: Tensor,
        context: Context,
        inputs: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """The loss with few inputs perturbed; its gradient counts how the perturbation would follow the weights."""
        pixels = pixels_of(context.task.augment(inputs, generator))

        def loss_of(shifted: Tensor) -> Tensor:
            with differentiable_twice():
                outputs = context.forward(network, context.preprocessing(shifted))
            return context.task.loss(outputs, labels).mean()

        inner = self.penalty * shift.square().sum() - loss_of(pixels + shift)
        (slope,) = torch.autograd.grad(inner, shift, create_graph=True)
        followed = shift - self.inner_rate * slope
        few = torch.zeros(len(pixels), device=pixels.device)
        few[: max(1, int(self.perturbed * len(pixels)))] = 1
        outer = loss_of(pixels + few.view(-1, *(1,) * shift.ndim) * shift)
        to_shift, *direct = slopes(outer, [shift, *weights])
        vector = torch.zeros_like(shift)
        for _ in range(self.iterations):
            (pulled,) = torch.autograd.grad(followed, shift, vector, retain_graph=True)
            vector = pulled + to_shift
        implicit = torch.autograd.grad(followed, weights, vector, allow_unused=True)
        context.meter.backwards += self.iterations + 2  # `tune` counts one more, which is that of the outer loss
        total = [d if i is None else d + i for d, i in zip(direct, implicit, strict=True)]
        return with_gradients(outer, weights, total)


METHOD = IBAU
