"""One network on many devices, as processes that `torchrun` started.

All processes draw the same batches from the same seed; each runs the network on its share of a batch, and all get the
outputs of the whole batch. Losses, schedules and decisions are computed from those everywhere alike, so that no method
needs to know of it. Gradients are averaged as by DistributedDataParallel; unlike there, the statistics of batch norms
are those of the whole batch on any device, so that the result is that of one process but for rounding. Dropout draws
differ.
"""

import atexit
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from detrojan.errors import BadArgument


def processes() -> int:
    """How many processes work on one network: those of the default group, or 1 where there is none."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def leads() -> bool:
    """Whether this process is the one that writes files."""
    return processes() == 1 or distributed.get_rank() == 0


def join() -> None:
    """Meet the other processes that `torchrun` started; nothing happens where it started none, or they have met.

    Each process gets the GPU of its place on the machine, where there are as many.

    Raises:
        BadArgument: the others do not come.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or processes() > 1:
        return
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place < gpus:
        torch.cuda.set_device(place)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
        atexit.register(distributed.destroy_process_group)
    except (ValueError, RuntimeError) as error:
        raise BadArgument(f"the processes of torchrun did not meet ({error}); start all of them by torchrun") from error


def shard(network: nn.Module, device: torch.device) -> nn.Module:
    """Divide a network's parameters among the processes, in place: FSDP2, block by block, so that none holds it whole.

    Where some parameters are frozen, the others (masks) stay whole. A sharded network cannot be copied; `gathered`
    reads it.
    """
    mesh = init_device_mesh(device.type, (processes(),))
    tuned = {parameter for parameter in network.parameters() if parameter.requires_grad}
    whole = tuned if len(tuned) < len(list(network.parameters())) else set()
    for block in (*reversed(blocks_of(network)), network):
        fully_shard(block, mesh=mesh, ignored_params=whole)  # moves what it shards, and the buffers, to the device
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    return network


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The members of lists and sequences that have layers of their own, outer ones first."""
    return [
        member
        for module in network.modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        for member in module
        if next(member.children(), None) is not None
    ]


def sharded(network: nn.Module) -> bool:
    """Whether parts of the network lie with other processes."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def gathered(network: nn.Module) -> dict[str, Tensor]:
    """The state dict, whole, in the processor's memory; all processes must ask."""
    with torch.no_grad():
        return {
            name: (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
            for name, value in network.state_dict().items()
        }


def run(network: Callable[[Tensor], Any], inputs: Tensor) -> Any:
    """The network's outputs on a whole batch (B, ...), of which this process computes its share.

    Outputs are tensors, or tuples, lists and dictionaries of them, with the samples along the first axis. A batch with
    fewer samples than there are processes is computed whole by each.
    """
    count, rank = processes(), distributed.get_rank()
    if len(inputs) < count:
        return network(inputs)
    sizes = [len(part) for part in inputs.tensor_split(count)]
    with SharedStatistics():
        outputs = network(inputs.tensor_split(count)[rank])
    return tree_map(lambda part: _Whole.apply(part, sizes) if isinstance(part, Tensor) else part, outputs)


@torch.no_grad()
def agree(network: nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    for value in network.state_dict().values():
        sent = value.contiguous()
        distributed.broadcast(sent, 0)
        value.copy_(sent)


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean of all processes' gradients."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter, DTensor):  # FSDP has averaged its own
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The means of all processes' tensors, which every process gets."""
    return [_all_reduced(tensor) / processes() for tensor in tensors]


def _all_reduced(tensor: Tensor) -> Tensor:
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


class _Whole(torch.autograd.Function):
    """The shares of all processes, one after the other.

    Each process computes the same loss from the whole, so that its own gradient is all that its share needs; it is
    scaled by their number because gradients are averaged afterwards.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        gathered = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(gathered, padded)
        return torch.cat([whole[:size] for whole, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        own = gradients[0].split(ctx.sizes)[distributed.get_rank()]
        return own * len(ctx.sizes), None


class _Sum(torch.autograd.Function):
    """The sum over the processes, forward and backward."""

    @staticmethod
    def forward(_ctx: Any, part: Tensor) -> Tensor:
        return _all_reduced(part)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


class SharedStatistics(TorchFunctionMode):
    """Batch norms that use batch statistics take those of all processes, whatever class or mask they have."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,  # noqa: A002 - the names of torch
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: FBT001, FBT002
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` over the samples of all processes; torch's SyncBatchNorm runs on GPUs alone."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    axes, shape = [0, *range(2, input.ndim)], (1, -1, *(1,) * (input.ndim - 2))
    wide = input.float()
    count = float(_Sum.apply(torch.tensor(float(wide.numel() // wide.shape[1]), device=wide.device)))
    mean = _Sum.apply(wide.sum(axes)) / count
    centred = wide - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * count / max(count - 1, 1)).to(running_var.dtype), momentum)
    scaled = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        scaled = scaled * weight.float().view(shape)
    if bias is not None:
        scaled = scaled + bias.float().view(shape)
    return scaled.to(input.dtype)
