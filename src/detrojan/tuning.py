"""What every defense shares: the context it works in, the step loop, what it costs, and what it hands back."""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, Unsupported
from detrojan.execution import Execution
from detrojan.functional import slopes
from detrojan.progress import OnStep, Step
from detrojan.randomness import Seeds
from detrojan.tasks import Task

AT_ONCE = 256 * 3 * 64 * 64
"""Numbers, of inputs as the network gets them, that are predicted in one batch."""


class Diverged(BadArgument):
    """The loss became NaN or infinite; nothing of the attempt is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a purification took: wall seconds, batches forward, batches backward, peak bytes over the start."""

    seconds: float
    forwards: int
    backwards: int
    peak_bytes: int


@dataclass(slots=True)
class Meter:
    """Counts while a defense runs on a device."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    forwards: int = 0
    backwards: int = 0
    _start: float = field(default_factory=time.perf_counter)
    _bytes: int = 0

    def start(self) -> "Meter":
        """Begin to count: time, and memory above what is in use now."""
        _reset_peak(self.device)
        self._start = time.perf_counter()
        self._bytes = torch.cuda.memory_allocated(self.device) if self._on_cuda else _bytes("VmRSS")
        return self

    def cost(self) -> Cost:
        """The cost so far."""
        peak = torch.cuda.max_memory_allocated(self.device) if self._on_cuda else _bytes("VmHWM")
        return Cost(
            seconds=time.perf_counter() - self._start,
            forwards=self.forwards,
            backwards=self.backwards,
            peak_bytes=max(0, peak - self._bytes),
        )

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that a defense knows besides the model and the clean samples; there is no trigger and no test set in it.

    `training` is what the victim learned from, where the user has it; nobody says which of its samples are poisoned.
    """

    task: Task
    preprocessing: Preprocessing
    execution: Execution
    seeds: Seeds
    meter: Meter
    on_step: OnStep | None = None
    training: Samples | None = None

    def __post_init__(self) -> None:
        self.preprocessing.check(self.task.labels)

    def forward(self, network: nn.Module, inputs: Any) -> Any:
        """Run the network on prepared inputs (already normalised, or mixed), in the chosen precision, and count it."""
        self.meter.forwards += 1
        return self.task.forward(self.execution.run, network, inputs)

    def gradients(self, loss: Tensor, tensors: Sequence[Tensor], *, keep: bool = False) -> list[Tensor]:
        """The gradients of a scalar with respect to tensors, of all processes; `keep` leaves the graph for another.

        Those of tensors that the scalar does not depend on, such as the weights of an auxiliary head, are zeros.
        """
        self.meter.backwards += 1
        return self.execution.averaged(slopes(loss, list(tensors), retain_graph=keep))

    def need_whole_weights(self, method: str) -> None:
        """Refuse a sharded network, whose weights are in parts.

        Raises:
            Unsupported: the network is sharded.
        """
        if self.execution.sharded:
            raise Unsupported(f"{method} computes with whole weights; leave out the shards, or use nft or fine_tuning")

    def need_one_class(self, method: str) -> None:
        """Refuse a task in which a sample has something else than one class.

        Raises:
            Unsupported: it is such a task.
        """
        if self.task.labels != "class":
            raise Unsupported(
                f"{method} is made for one class a sample, not for {self.task.labels}; use nft, fine_tuning or ft_sam"
            )

    def need_numbers(self, method: str, clean: Samples) -> None:
        """Refuse inputs that a small number cannot be added to.

        Raises:
            Unsupported: they are tokens.
        """
        if clean.kind == "tokens":
            raise Unsupported(f"{method} perturbs inputs, which tokens do not allow; use nft, fine_tuning or ft_sam")

    def need_pictures(self, method: str, clean: Samples) -> None:
        """Refuse inputs that are no images.

        Raises:
            Unsupported: they are clips, points or tokens.
        """
        if clean.inputs.ndim != 4:
            raise Unsupported(f"{method} works on images, and these are {clean.kind}; use nft, fine_tuning or ft_sam")

    def need_one_process(self, method: str, reason: str) -> None:
        """Refuse to share batches among processes.

        Raises:
            Unsupported: there are several processes.
        """
        if self.execution.processes > 1:
            raise Unsupported(f"{method} {reason}, which one process must do alone; start it without torchrun")

    def predict(self, network: nn.Module, samples: Samples) -> Tensor:
        """The answers (N, ...) to all samples, in eval mode, without augmentation; the network's mode is given back.

        A batch has 256 samples, or as many large ones as have the numbers of 256 images of 64 x 64 pixels.
        """
        mode = network.training
        each = self.preprocessing(samples.inputs[:1]).shape[1:].numel()
        batch = min(256, max(1, AT_ONCE // max(1, each)))
        network.eval()
        with torch.no_grad():
            parts = []
            for part in samples.inputs.split(batch):
                self.meter.forwards += 1
                prepared = self.preprocessing(part.to(self.execution.device))
                parts.append(self.task.read(self.execution.run, network, prepared).cpu())
        network.train(mode)
        return torch.cat(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a defense hands back: a plain model, its masks by module name (empty where it has none), loss by step.

    `notes` are findings of the method that a reader of the verdict should know, by name. `guard` puts on a network what
    cannot be written into weights (hooks); None where the weights are all.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    losses: tuple[float, ...]
    notes: Mapping[str, float | int | str] = field(default_factory=dict)
    guard: Callable[[nn.Module], None] | None = None


Objective = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def tune(
    objective: Objective,
    optimizer: torch.optim.Optimizer | None,
    samples: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    stage: str,
    learning_rate: Callable[[int], float] | None = None,
    project: Callable[[], None] | None = None,
    stop: Callable[[int], bool] | None = None,
) -> list[float]:
    """Draw batches with replacement and step the optimiser; returns the loss of each step done.

    `objective` maps stored inputs (B, ...), labels (B,) and a generator on the device to a scalar. Without an
    optimiser the objective is only evaluated. `learning_rate` gives the rate of a step from 0. `project` is
    called after each step; `stop(steps done)` ends the loop early by returning True.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    device = context.execution.device
    generator = context.seeds.generator(f"batches of {stage}", device)
    inputs, labels = samples.inputs.to(device), samples.labels.to(device)
    losses: list[float] = []
    with context.seeds.seeded(f"dropout of {stage}"):
        for step in range(steps):
            if optimizer is not None and learning_rate is not None:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step)
            chosen = torch.randint(len(labels), (batch,), generator=generator, device=device)
            loss = objective(inputs[chosen], labels[chosen], generator)
            losses.append(float(loss.detach()))
            if not torch.isfinite(loss):
                raise Diverged(f"{stage}: the loss became {losses[-1]} at step {step + 1}; use a lower learning rate")
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                context.meter.backwards += 1
                context.execution.step(optimizer)
            if project is not None:
                project()
            if context.on_step is not None:
                context.on_step(Step(index=step + 1, total=steps, loss=losses[-1], stage=stage))
            if stop is not None and stop(step + 1):
                break
    return losses


def mixup_loss(
    network: nn.Module, context: Context, inputs: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """The task's loss on stored inputs under weak augmentation and MixUp, a scalar."""
    mixed = context.task.mixup(context.preprocessing(context.task.augment(inputs, generator)), generator)
    outputs = context.forward(network, mixed.inputs)
    return mixed.loss(context.task.loss(outputs, labels), context.task.loss(outputs, labels[mixed.partner]))


def _bytes(field_name: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(field_name):
                return int(line.split()[1]) * 1024
    return 0  # only Linux tells the memory of a process in a file


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc keeps what was freed; what is taken again from there would not count
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the whole process
