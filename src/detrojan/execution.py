"""Where and how a network runs: device, bf16 autocast and channels-last, chosen by what the machine has.

The choice depends on the hardware and the network alone, never on a timing, so that the same seed gives the same
result bit by bit on one machine.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from detrojan import parallel
from detrojan.activation_checkpointing import forget_activations
from detrojan.errors import BadArgument

Precision = Literal["auto", "fp32", "bf16"]
Distributed = Literal[False, True, "shards"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A device, whether matrix products run in bfloat16, and whether images lie channels-last in memory.

    `dtype` is the number type of the network's weights, and so of the floats that it takes. `processes` work on one
    network, each on its share of every batch, and with `sharded` each with its share of the parameters (see
    `detrojan.parallel`). With `checkpointing`, blocks compute their activations again for the gradient
    (`detrojan.activation_checkpointing`).
    """

    device: torch.device
    bf16: bool
    channels_last: bool
    dtype: torch.dtype = torch.float32
    processes: int = 1
    sharded: bool = False
    checkpointing: bool = False

    @classmethod
    def choose(
        cls,
        model: nn.Module,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        distributed: Distributed = False,
        checkpointing: bool = False,
    ) -> "Execution":
        """Pick for this network and machine; bf16 only where the processor has instructions for it.

        With `distributed`, all processes that `torchrun` started work on this network, each with a copy, or with
        `shards` of it; otherwise this process works alone.

        Raises:
            BadArgument: the device is not there, or `precision` or `distributed` is none of those that there are.
        """
        if precision not in get_args(Precision):
            raise BadArgument(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
        if distributed not in get_args(Distributed):
            raise BadArgument(f"distributed must be False, True or 'shards', got {distributed!r}")
        if distributed:
            parallel.join()
        place = _device(device)
        has_conv2d = any(isinstance(m, nn.Conv2d) for m in model.modules())
        dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()] or [torch.float32]
        plain = all(dtype == torch.float32 for dtype in dtypes)
        bf16 = _has_fast_bf16(place) and plain if precision == "auto" else precision == "bf16"
        return cls(
            device=place,
            bf16=bf16,
            channels_last=has_conv2d,
            dtype=dtypes[0],
            processes=parallel.processes() if distributed else 1,
            sharded=distributed == "shards" and parallel.processes() > 1,
            checkpointing=checkpointing,
        )

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network that we own to the device, its convolution weights channels-last where that pays.

        A network that several processes share starts everywhere as in the first one. A sharded network is divided in
        place, and cannot be copied any more.
        """
        if self.processes > 1:
            parallel.agree(module if self.sharded else module.to(self.device))
        if self.checkpointing:
            forget_activations(module, parallel.SharedStatistics if self.processes > 1 else nullcontext)
        layout = torch.contiguous_format if self.sharded else torch.channels_last  # shards are cut from contiguous ones
        if self.channels_last:
            for convolution in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
                convolution.to(memory_format=layout)
        return parallel.shard(module, self.device) if self.sharded else module.to(self.device)

    def placed(self, model: nn.Module) -> nn.Module:
        """A network that we may only read, where it runs: itself, or a sharded copy of one that lies here whole."""
        return self.place(copy.deepcopy(model)) if self.sharded and not parallel.sharded(model) else model

    def send(self, inputs: Tensor) -> Tensor:
        """Move a batch to the device in the memory format that its network wants."""
        inputs = inputs.to(self.device, non_blocking=True)
        return (
            inputs.contiguous(memory_format=torch.channels_last) if self.channels_last and inputs.ndim == 4 else inputs
        )

    def feed(self, inputs: Tensor) -> Tensor:
        """A batch of prepared inputs as the network takes it: sent, and floats in the number type of its weights."""
        return self.send(inputs.to(self.dtype) if inputs.is_floating_point() else inputs)

    def give_back(self, network: nn.Module, model: nn.Module) -> None:
        """Write the weights of a sharded network into the whole one that it was copied from."""
        if self.sharded:
            model.load_state_dict(parallel.gathered(network))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block in the chosen precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    @property
    def keeps_state(self) -> bool:
        """Whether this process writes down how far a training has come: the first, where it has the whole network."""
        return not self.sharded and (self.processes == 1 or parallel.leads())

    def run(self, network: Callable[[Tensor], Any], inputs: Tensor) -> Any:
        """The network's outputs on a batch of prepared inputs, in the chosen precision."""
        with self.running():
            return network(self.feed(inputs)) if self.processes == 1 else parallel.run(network, self.feed(inputs))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step an optimiser after `backward`, with the gradients of all processes."""
        if self.processes > 1:
            parallel.average_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()

    def averaged(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients that were taken by hand, with those of all processes."""
        return parallel.average(gradients) if self.processes > 1 else list(gradients)

    def __str__(self) -> str:
        layout = "channels-last" if self.channels_last else "contiguous"
        with_shards = " with a shard each" if self.sharded else ""
        shared = f", {self.processes} processes{with_shards}" if self.processes > 1 else ""
        weights = str(self.dtype).removeprefix("torch.").replace("bfloat", "bf").replace("float", "fp")
        again = ", activation checkpointing" if self.checkpointing else ""
        return f"{self.device}, {'bf16' if self.bf16 else weights}, {layout}{shared}{again}"


def resident(stored: Tensor, device: torch.device) -> Tensor:
    """Stored samples on the device, where they take at most half of its free memory; else where they are."""
    if device.type == "cuda" and stored.device.type != "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if stored.nbytes > free / 2:
            return stored
    return stored.to(device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadArgument(f"device {name!r} is not there on this machine ({error}); use 'auto' or 'cpu'") from error
    return device


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
