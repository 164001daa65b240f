"""What a network does, found by running it: which norm follows which convolution, what a layer takes in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.placement import outputs_of
from detrojan.sites import CONVOLUTIONS
from detrojan.tuning import Context

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def head_of(network: nn.Module) -> nn.Linear:
    """The linear layer that makes the class scores.

    Raises:
        Unsupported: another kind of layer makes them, or several do.
    """
    found = [module for module in network.modules() if module in outputs_of(network)]
    if len(found) != 1 or not isinstance(found[0], nn.Linear):
        kinds = ", ".join(type(module).__name__ for module in found) or "no layer of its own"
        raise Unsupported(f"the class scores must come from one linear layer, here {kinds} makes them")
    return found[0]


@contextmanager
def watched(layers: Sequence[nn.Module], *, before: bool = False) -> Iterator[dict[nn.Module, Tensor]]:
    """Within the block, keep what each layer last put out (or with `before`, what it last took in)."""
    seen: dict[nn.Module, Tensor] = {}

    def keep_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[module] = args[0]

    def keep_output(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        del args
        seen[module] = output

    handles = [
        layer.register_forward_pre_hook(keep_input) if before else layer.register_forward_hook(keep_output)
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def features(network: nn.Module, layer: nn.Module, samples: Samples, context: Context, *, batch: int = 256) -> Tensor:
    """What a layer takes in (N, ...) when the network, in eval mode, sees all samples without augmentation."""
    mode, found = network.training, []
    network.eval()
    with watched([layer], before=True) as seen:
        for part in samples.inputs.split(batch):
            context.forward(network, context.preprocessing(part.to(context.execution.device)))
            found.append(seen[layer].float().cpu())
    network.train(mode)
    return torch.cat(found)


def norms_and_convolutions(network: nn.Module, samples: Samples, context: Context) -> list[tuple[Any, list[Any]]]:
    """Each batch norm with the convolutions whose outputs, alone or in a sum, it takes in; in the order of running.

    A sum is that of a residual block, in front of the next block's norm (pre-activation networks).
    """
    found: list[tuple[Any, list[Any]]] = []
    made_by: dict[Any, nn.Module] = {}  # by the node of the autograd graph, which tells where a tensor comes from

    def put_out(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        del args
        made_by[output.grad_fn] = module

    def take_in(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        sources = list(_summands(args[0].grad_fn, made_by))
        if sources:
            found.append((module, sources))

    handles = [m.register_forward_hook(put_out) for m in network.modules() if isinstance(m, CONVOLUTIONS)]
    handles += [m.register_forward_pre_hook(take_in) for m in network.modules() if isinstance(m, BATCH_NORM)]
    try:
        _run_once(network, samples, context)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _summands(node: Any, made_by: Mapping[Any, nn.Module]) -> Iterator[nn.Module]:
    """The layers that made a tensor, or the terms of the sum that it is."""
    if node in made_by:
        yield made_by[node]
    elif node is not None and node.name() in ("AddBackward0", "ToCopyBackward0"):
        for behind, _ in node.next_functions:
            yield from _summands(behind, made_by)


@torch.no_grad()
def stages(network: nn.Module, samples: Samples, context: Context) -> list[str]:
    """For each size of the maps (B, C, H, W), from large to small, the name of what last puts one out.

    That is the last block of layers where blocks put out maps of this size, else the last layer.
    """
    last: dict[tuple[int, ...], tuple[bool, str]] = {}
    names = {module: name for name, module in network.named_modules() if name}

    def put_out(module: nn.Module, args: object, output: object) -> None:
        del args
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            size, block = tuple(output.shape[2:]), next(module.children(), None) is not None
            if block or not last.get(size, (False, ""))[0]:
                last[size] = (block, names[module])

    handles = [module.register_forward_hook(put_out) for module in names]
    try:
        _run_once(network, samples, context)
    finally:
        for handle in handles:
            handle.remove()
    return [name for _, (_, name) in sorted(last.items(), reverse=True)]


def order_of_convolutions(network: nn.Module, samples: Samples, context: Context) -> list[str]:
    """The names of the convolutions over images, in the order in which they run."""
    names = {module: name for name, module in network.named_modules()}
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda module, _: ran.append(names[module]))
        for module in names
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            _run_once(network, samples, context)
    finally:
        for handle in handles:
            handle.remove()
    return ran


def _run_once(network: nn.Module, samples: Samples, context: Context) -> None:
    mode = network.training
    network.eval()
    inputs = context.preprocessing(samples.inputs[:2].to(context.execution.device))
    context.forward(network, inputs.detach().requires_grad_(inputs.is_floating_point()))
    network.train(mode)
