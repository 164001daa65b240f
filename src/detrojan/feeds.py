"""Where training batches come from: what stands between the stored samples and the loss."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from detrojan.data.samples import Samples
from detrojan.execution import resident
from detrojan.tasks import Task


class Feed(Protocol):
    """Where training batches come from; what stands between the stored samples and the network's loss."""

    name: str
    """What tells this feed from others, for the state of an interrupted training."""
    samples: Samples
    """The stored samples that the batches are made of."""

    def __len__(self) -> int:
        """The number of samples."""

    def begin(self, epoch: int, classify: Callable[[Tensor], Tensor]) -> None:
        """Start an epoch (from 0); `classify` maps pixels in [0, 1] to the scores of the network as it is."""

    def batch(
        self, chosen: Tensor, augment: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The augmented inputs (B, ...) and labels (B,) of the samples `chosen` (B,), on the generator's device."""

    def penalty(self, task: Task, outputs: Any, labels: Tensor) -> Tensor | None:
        """What is added to the task's loss of a network's outputs and labels (B, ...), a scalar."""

    def snapshot(self) -> dict[str, Any]:
        """What must be kept to go on after an interruption; tensors and plain values only."""

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Take a snapshot back."""


class Plain:
    """Stored samples as they are, on the device where it has room for them."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples = samples
        self.inputs, self.labels = resident(samples.inputs, device), samples.labels.to(device)
        self.name = f"{len(samples)} of {samples.name}"

    def __len__(self) -> int:
        return len(self.labels)

    def begin(self, epoch: int, classify: Callable[[Tensor], Tensor]) -> None:
        """Nothing to prepare."""

    def batch(
        self, chosen: Tensor, augment: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The augmented samples."""
        inputs = self.inputs[chosen.to(self.inputs.device)].to(generator.device)
        return augment(inputs), self.labels[chosen]

    def penalty(self, task: Task, outputs: Any, labels: Tensor) -> Tensor | None:
        """Nothing."""

    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Nothing changes."""
