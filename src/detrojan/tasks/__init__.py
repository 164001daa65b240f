"""Tasks, one file each: what a batch, a loss, a prediction and a score mean."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import Mixed
from detrojan.intervals import Estimate
from detrojan.registry import Registry
from detrojan.tasks._classification import Classification

__all__ = ["TASKS", "Classification", "Task", "scored"]

TASKS = Registry("task", __name__)
Run = Callable[[Callable[[Tensor], Any], Tensor], Any]


class Task(Protocol):
    """What the rooms below ask of a task; inputs are stored ones (B, ...) or prepared ones, as the network gets them.

    Answers are the scores (N, K) of all samples. `tags` says that a label is a row of tags (K,), not one class;
    `metric` is what the score of clean samples is called, `judged` what the average of the outcomes is.
    """

    tags: ClassVar[bool]
    metric: ClassVar[str]
    judged: ClassVar[str]

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of stored inputs."""

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Each prepared input mixed with a partner of the same batch."""

    def forward(self, run: Run, network: nn.Module, inputs: Any) -> Any:
        """The network's output on prepared inputs, or on mixed ones, by `run`, which takes care of where and how."""

    def logits(self, outputs: Any) -> Tensor:
        """The class scores (B, K) in a network's output."""

    def answers(self, scores: Tensor) -> Tensor:
        """How likely each of A answers to each of M questions is, (B, M, A), of scores (B, K)."""

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, M, A) of the same."""

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """The loss of each example, (B,)."""

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, (B,) or (B, K)."""

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """How right each answer is, (N,), in [0, 1]."""

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """The figure that the field quotes for clean samples, `metric`, with its interval."""

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Which answers are what the attacker wants, (N,); a wanted tag of -1 is any."""


def scored(scores: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of scores (B, K) and labels (B,); of tags (B, K), the mean of each tag's."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
