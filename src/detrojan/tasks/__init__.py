"""Tasks, one file each: what a batch, a loss, a prediction and a score mean."""

from typing import Any, Protocol

import torch
from torch import Tensor

from detrojan.augmentation import Mixed
from detrojan.registry import Registry

TASKS = Registry("task", __name__)


class Task(Protocol):
    """What defenses ask of a task; inputs are stored ones (B, ...) or prepared ones, as the network gets them."""

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of stored inputs."""

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Each prepared input mixed with a partner of the same batch."""

    def logits(self, outputs: Any) -> Tensor:
        """The class scores (B, K) in a network's output."""

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """The loss of each example, (B,)."""

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, (B,)."""
