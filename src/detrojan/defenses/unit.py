"""UNIT: every activation is clipped at a bound of its own, as tight as clean samples allow.

Needs: labelled clean samples.
Serves: networks with norms.
Source: Cheng et al., "UNIT: Backdoor Mitigation via Automated Neural Distribution Tightening" (ECCV 2024) and its code.
There the bounds follow the ReLUs of a ResNet-18 written out anew; here they follow the norms of any network, which in
front of a ReLU is the same. Bounds cannot be written into weights: the result is the victim with hooks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.functional import constant
from detrojan.pruning import parts
from detrojan.sites import is_norm
from detrojan.tracing import watched
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import accuracy, plain_loss, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class UNIT:
    """Bounds fall under a price on their mean that grows while held-out samples stay right, and shrinks otherwise.

    Args:
        steps: of Adam on the bounds.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam.
        deviations: how many standard deviations over the mean of clean activations the bounds start.
        price: of the mean bound of each norm, at first.
        patience: steps on one side before the price doubles, or falls to 2^-1.5 of what it was.
        tolerance: the largest loss of accuracy, as a share, on held-out samples.
    """

    guards: ClassVar[bool] = True
    steps: int = 300
    batch: int = 128
    learning_rate: float = 1e-3
    deviations: float = 4.0
    price: float = 1e-3
    patience: int = 5
    tolerance: float = 0.03

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Find the bounds of a network that stays as it is; `Tuned.guard` puts them on.

        Raises:
            Unsupported: the network has no norm.
            Diverged: the loss became NaN or infinite.
        """
        context.need_one_process("unit", "looks inside the network")
        if clean.kind == "tokens":
            raise Unsupported(
                "unit bounds every place of a map, and sentences differ in length; use nft or fine_tuning"
            )
        network = tunable(model, context).eval()
        norms = {name: module for name, module in network.named_modules() if is_norm(module)}
        if not norms:
            raise Unsupported("unit bounds what norms put out, and there is none; use fine_tuning")
        work, held_out = parts(clean, context)
        wanted = accuracy(network, held_out, context) - self.tolerance
        bounds = self._start(network, norms, work, context)
        guard(network, bounds)
        tightest: dict[str, Tensor] | None = None
        price, size, above, below = self.price, float("inf"), 0, 0
        still = constant(network)

        def mean_bound() -> Tensor:
            return torch.stack([bound.clamp_min(0).mean() for bound in bounds.values()]).sum()

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            return plain_loss(still, context, inputs, labels, generator) + price * mean_bound()

        def judge() -> None:
            nonlocal tightest, price, size, above, below
            good, now = accuracy(network, held_out, context) >= wanted, float(mean_bound().detach())
            if good and now < size:
                tightest, size = {name: bound.detach().clone() for name, bound in bounds.items()}, now
            above, below = (above + 1, 0) if good else (0, below + 1)
            if above >= self.patience:
                price, above = 2 * max(price, self.price), 0
            elif below >= self.patience:
                price, below = price / 2**1.5, 0

        losses = tune(
            objective,
            torch.optim.Adam(bounds.values(), self.learning_rate, betas=(0.5, 0.9)),
            work,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="UNIT",
            project=judge,
        )
        found = {name: bound.detach().clamp_min(0) for name, bound in (tightest or bounds).items()}
        plain = tunable(model, context).eval()
        guard(plain, found)
        notes = {"mean bound": round(sum(float(b.mean()) for b in found.values()) / len(found), 4)}
        return Tuned(model=plain, masks={}, losses=tuple(losses), notes=notes, guard=lambda model: guard(model, found))

    @torch.no_grad()
    def _start(
        self, network: nn.Module, norms: Mapping[str, nn.Module], work: Samples, context: Context
    ) -> dict[str, Tensor]:
        """The mean of clean activations plus so many standard deviations, for each place of each map."""
        totals: dict[str, tuple[Tensor, Tensor]] = {}
        for part in work.inputs.split(self.batch):
            with watched(list(norms.values())) as seen:
                context.forward(network, context.preprocessing(part.to(context.execution.device)))
            for name, module in norms.items():
                values = seen[module].float().clamp_min(0)
                sums = values.sum(0), values.square().sum(0)
                first, second = totals.get(name, (torch.zeros_like(sums[0]), torch.zeros_like(sums[1])))
                totals[name] = first + sums[0], second + sums[1]
        bounds = {}
        for name, (first, second) in totals.items():
            mean = first / len(work)
            deviation = (second / len(work) - mean.square()).clamp_min(0).sqrt()
            bounds[name] = (mean + self.deviations * deviation).requires_grad_()
        return bounds


@dataclass(frozen=True, slots=True)
class Clip:
    """A hook that clips what a module puts out, from above, at bounds (without the batch's axis), at least 0."""

    bound: Tensor

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Clip an output (B, ...)."""
        del module, args
        return output.minimum(self.bound.clamp_min(0).to(output.device, output.dtype))


def guard(network: nn.Module, bounds: Mapping[str, Tensor]) -> None:
    """Clip what the modules of these names put out, in place."""
    for name, bound in bounds.items():
        network.get_submodule(name).register_forward_hook(Clip(bound))


METHOD = UNIT
