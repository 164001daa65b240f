"""A masked layer: the same layer, whose tensors or output are multiplied by factors while the factors are tuned.

`attach` gives a module a class of its own, derived from its class. When it runs, a convolution or linear layer scales
its output, so that the gradient with respect to its weight is never formed; every other layer computes with scaled
tensors. Read from outside (fused attention, fast paths), any tensor is scaled: the mask counts whoever uses the layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from detrojan.sites import Site

SLOT = "_detrojan_mask"


@dataclass(slots=True)
class Attached:
    """What a masked layer knows: its site, all the factors, where its own begin, its former class.

    `during` holds the tensors that the layer reads while it runs.
    """

    site: Site
    factors: nn.ParameterList
    first: int
    plain: type[nn.Module]
    during: dict[str, Tensor] | None = None

    def own(self) -> list[Tensor]:
        """The factors of this layer, one vector per mask."""
        return [self.factors[self.first + index] for index in range(len(self.site.masks))]

    def scaled(self, name: str) -> Tensor:
        """A tensor of the layer times its factors; a shard as it is, which FSDP asks for and no layer computes with."""
        tensor = _raw(self, name)
        return tensor if isinstance(tensor, DTensor) else self.site.tensors[name].scale(tensor, self.own())

    def enter(self) -> None:
        """Prepare what the layer reads while it runs: raw tensors where its output is scaled instead."""
        read = self.scaled if self.site.output_axis is None else lambda name: _raw(self, name)
        self.during = {name: read(name) for name in self.site.tensors}

    def leave(self, output: Any) -> Any:
        """Scale the output, where the layer computed with raw tensors."""
        if self.site.output_axis is None:
            return output
        factor = self.own()[0].to(output.dtype)
        return output * factor.view(-1, *(1,) * (-1 - self.site.output_axis))


def attach(site: Site, factors: nn.ParameterList, first: int) -> None:
    """Make the site's module masked by `factors[first]` and the following ones, in place."""
    plain = type(site.module)
    recurrent = isinstance(site.module, nn.RNNBase)
    reads = {"_flat_weights": _flat_weights()} if recurrent else {name: _scaled_read(name) for name in site.tensors}
    kept = {"__module__": plain.__module__, "__qualname__": plain.__qualname__, "__doc__": plain.__doc__}
    meta: Any = type(plain)
    masked = meta(plain.__name__, (plain,), {**kept, "forward": _masked_forward(plain), **reads})
    vars(site.module)[SLOT] = Attached(site, factors, first, plain)
    site.module.__class__ = masked


def detach(network: nn.Module) -> None:
    """Write the factors of all masked layers into their tensors and give the layers their own class back, in place."""
    for module in network.modules():
        attached = vars(module).pop(SLOT, None)
        if attached is not None:
            module.__class__ = attached.plain
            attached.site.fold(attached.own())


def _masked_forward(plain: type[nn.Module]) -> Callable[..., Any]:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        attached: Attached = vars(self)[SLOT]
        attached.enter()
        try:
            output = plain.forward(self, *args, **kwargs)
        finally:
            attached.during = None
        return attached.leave(output)

    return forward


def _scaled_read(name: str) -> property:
    """A tensor as its readers see it: scaled, save for the layer itself where it scales its output instead."""

    def read(self: nn.Module) -> Tensor:
        attached: Attached = vars(self)[SLOT]
        return attached.scaled(name) if attached.during is None else attached.during[name]

    def write(self: nn.Module, value: Tensor) -> None:  # hooks that compute a tensor before each forward
        vars(self)[name] = value

    return property(read, write)


def _flat_weights() -> property:
    """The list of tensors that torch's recurrent layers hand to their fused kernels."""

    def read(self: nn.RNNBase) -> list[Tensor]:
        attached: Attached = vars(self)[SLOT]
        raw = vars(self)["_flat_weights"]
        names = self._flat_weights_names
        return raw if attached.during is None else [attached.during.get(n, w) for n, w in zip(names, raw, strict=True)]

    def write(self: nn.RNNBase, value: list[Tensor]) -> None:
        vars(self)["_flat_weights"] = value

    return property(read, write)


def _raw(attached: Attached, name: str) -> Any:
    module = attached.site.module
    inherited = getattr(attached.plain, name, None)
    if isinstance(inherited, property):  # a parametrised tensor
        return inherited.__get__(module)
    for tensors in (vars(module), module._parameters, module._buffers):
        if name in tensors:
            return tensors[name]
    raise AttributeError(f"{type(module).__name__} has no {name!r}")
