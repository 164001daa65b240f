"""Tasks, one file each: what a batch, a loss, a prediction and a score mean."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from detrojan.augmentation import Mixed
from detrojan.data.samples import LabelKind, Samples
from detrojan.data.texts import SPECIAL
from detrojan.intervals import Estimate
from detrojan.registry import Registry
from detrojan.tasks._classification import Classification

__all__ = ["TASKS", "Classification", "Task", "task_for"]

TASKS = Registry("task", __name__)
Run = Callable[[Callable[[Tensor], Any], Tensor], Any]


class Task(Protocol):
    """What the rooms below ask of a task; inputs are stored ones (B, ...) or prepared ones, as the network gets them.

    Answers are what the network says to all samples: scores (N, K), or what `read` makes of them. `labels` says what a
    label is; `metric` is what the score of clean samples is called, `judged` what the average of the outcomes is.
    """

    labels: ClassVar[LabelKind]
    metric: ClassVar[str]
    judged: ClassVar[str]

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of stored inputs."""

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Each prepared input mixed with a partner of the same batch."""

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A strong view of each input that is taught (B, ...), to which the same answer is right, and what it shows.

        That is what was put into each (B,), where it can be put into other inputs as well, as `signs`; else None.

        Raises:
            Unsupported: of these inputs there is none.
        """

    def join(self, first: Tensor, second: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two inputs in one, for each of (B, ...), and the share (B,) of the first in it.

        Raises:
            Unsupported: these inputs cannot be joined.
        """

    def forward(self, run: Run, network: nn.Module, inputs: Any) -> Any:
        """The network's output on prepared inputs, or on mixed ones, by `run`, which takes care of where and how."""

    def teach(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """What a network is shown when it learns: stored inputs, with their labels where it must see those, too."""

    def read(self, run: Run, network: nn.Module, inputs: Any) -> Tensor:
        """What the network answers to prepared inputs when it is used, (B, ...), the same shape for all batches."""

    def logits(self, outputs: Any) -> Tensor:
        """The class scores (B, K), or (B, ..., K), in a network's output."""

    def answers(self, scores: Tensor) -> Tensor:
        """How likely each of A answers to each of M questions is, (B, M, A), of scores (B, ...)."""

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, M, A) of the same."""

    def loss(self, outputs: Any, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The loss of each example, (B,)."""

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, in the form of a label."""

    def same(self, first: Tensor, second: Tensor) -> Tensor:
        """How alike two networks' answers (N, ...) are, (N,), in [0, 1]."""

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """How right each answer is, (N,), in [0, 1]."""

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """The figure that the field quotes for clean samples, `metric`, with its interval."""

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Which answers are what the attacker wants, (N,); a wanted tag of -1 is any."""


def task_for(task: Any, samples: Samples) -> Task:
    """The task of a name, set up for the words of the samples and the length of their answers.

    A vocabulary without an unknown word, as tokenizers of bytes have it, gives a task that knows of none. One that is
    configured already stays as it is.
    """
    found: Any = TASKS.build(task)
    settings = {field.name for field in fields(found)} if isinstance(task, str) and is_dataclass(found) else set()
    fitting: dict[str, Any] = {}
    if "unknown" in settings and samples.vocabulary:
        fitting["unknown"] = samples.vocabulary.index(SPECIAL[1]) if SPECIAL[1] in samples.vocabulary else None
    if "words" in settings and samples.vocabulary:
        fitting["words"] = len(samples.vocabulary)
    if "longest" in settings and samples.sentences:
        fitting["longest"] = max(found.longest, samples.labels.shape[1])
    fitted: Task = TASKS.build(task, **fitting) if fitting else found
    return fitted
