"""A network as a function of its tensors: other tensors for one call, steps away from the weights, given gradients."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

_replaced: ContextVar[bool] = ContextVar("_replaced", default=False)


class Replaced(nn.Module):
    """A network that computes with other tensors in place of some of its parameters; differentiable in those.

    Args:
        network: stays as it is, save that its batch norms see what runs through in train mode.
        tensors: by the name of the parameter that each stands in for, of the same shape.
    """

    def __init__(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.tensors = dict(tensors)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network with the tensors."""
        token = _replaced.set(True)
        try:
            return functional_call(self.network, self.tensors, args, kwargs)
        finally:
            _replaced.reset(token)


def replaced() -> bool:
    """Whether a network is computing with other tensors in place of its own now."""
    return _replaced.get()


def named_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that a gradient can change, by name; a tied one once."""
    return {name: weight for name, weight in network.named_parameters() if weight.is_floating_point()}


def constant(network: nn.Module) -> Replaced:
    """The network with its weights as constants, so that no gradient of them is formed."""
    return Replaced(network, {name: weight.detach() for name, weight in named_weights(network).items()})


def stepped(
    weights: Mapping[str, Tensor], directions: Sequence[Tensor], radius: float, *, adaptive: bool = False
) -> dict[str, Tensor]:
    """The weights moved by `radius` along directions, as one vector; differentiable in the weights, not in the step.

    Args:
        weights: by name.
        directions: one per weight, such as the gradients of a loss (sharpness-aware minimisation).
        radius: the length of the step.
        adaptive: the step is radius w^2 d / || |w| d ||, in proportion to the weights (Kwon et al., "ASAM", 2021).
    """
    scaled = [w.detach().abs() * d for w, d in zip(weights.values(), directions, strict=True)]
    measured = scaled if adaptive else list(directions)
    length = torch.stack([part.float().norm() for part in measured]).norm().clamp_min(1e-12)
    steps = [w.detach().abs() * s for w, s in zip(weights.values(), scaled, strict=True)] if adaptive else directions
    moved = zip(weights.items(), steps, strict=True)
    return {name: weight + radius / length * step.detach() for (name, weight), step in moved}


def slopes(value: Tensor, tensors: Sequence[Tensor], **how: Any) -> list[Tensor]:
    """The gradients of a scalar (`how`: keywords of `torch.autograd.grad`); zeros of tensors that play no part."""
    found = torch.autograd.grad(value, list(tensors), allow_unused=True, **how)
    return [torch.zeros_like(t) if slope is None else slope for t, slope in zip(tensors, found, strict=True)]


def with_gradients(value: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar of this value, whose gradients with respect to the tensors are those given."""
    carrier = torch.stack([(t * g.detach()).sum() for t, g in zip(tensors, gradients, strict=True)]).sum()
    return value.detach() + carrier - carrier.detach()


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Within the block attention is computed step by step, since fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def holding_statistics(network: nn.Module) -> Iterator[None]:
    """Within the block batch norms in train mode use batch statistics, but do not take them into the running ones."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
