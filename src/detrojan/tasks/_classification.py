"""What tasks share in which a network gives one score a class: its loss, its prediction, its MixUp, its accuracy."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan import augmentation
from detrojan.augmentation import Mixed
from detrojan.data.samples import LabelKind
from detrojan.errors import Unsupported
from detrojan.intervals import Estimate, average
from detrojan.tasks._viewless import Viewless


class Classification(Viewless):
    """One label a sample; a task adds how its inputs are augmented, and where it must, how they are mixed."""

    __slots__ = ()
    labels: ClassVar[LabelKind] = "class"
    metric: ClassVar[str] = "ACC"
    judged: ClassVar[str] = "clean accuracy"

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of stored inputs (B, ...); by default none."""
        del generator
        return inputs

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each prepared input (B, ...) with a partner of the same batch."""
        return augmentation.mixup(inputs, generator)

    def forward(self, run: Callable[[Any, Tensor], Any], network: nn.Module, inputs: Any) -> Any:
        """The network's output on prepared inputs (B, ...)."""
        return run(network, inputs)

    def teach(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The stored inputs (B, ...) as they are: a class is not shown."""
        del labels
        return inputs

    def read(self, run: Callable[[Any, Tensor], Any], network: nn.Module, inputs: Any) -> Tensor:
        """The scores (B, K)."""
        return self.logits(self.forward(run, network, inputs))

    def logits(self, outputs: Any) -> Tensor:
        """The class scores (B, K) in a network's output: a tensor, or a record or mapping that holds `logits`.

        Raises:
            Unsupported: the output holds no (B, K) tensor.
        """
        found = getattr(outputs, "logits", None)
        if found is None and isinstance(outputs, dict):
            found = outputs.get("logits")
        if found is None and isinstance(outputs, (tuple, list)):
            found = outputs[0]
        scores = outputs if found is None else found
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            kind = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise Unsupported(
                f"a network that classifies must return class scores of shape (B, K), this network returned {kind}"
            )
        return scores.float()

    def answers(self, scores: Tensor) -> Tensor:
        """The classes' probabilities (B, 1, K): one question with K answers."""
        return scores.softmax(1)[:, None]

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, 1, K) of the same."""
        return scores.log_softmax(1)[:, None]

    def loss(self, outputs: Any, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each example, (B,)."""
        return F.cross_entropy(self.logits(outputs), labels, reduction="none", label_smoothing=label_smoothing)

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, (B,)."""
        return self.logits(outputs).argmax(1)

    def same(self, first: Tensor, second: Tensor) -> Tensor:
        """1 where two networks' scores (N, K) give the same label, or the same tags, else 0, (N,)."""
        ours, theirs = self.predict(first), self.predict(second)
        return (ours == theirs).flatten(1).all(1).float() if ours.ndim > 1 else (ours == theirs).float()

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """1 where the highest score is that of the label, else 0, (N,)."""
        return (answers.argmax(1) == labels).float()

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """The accuracy."""
        return average(self.outcomes(answers, labels).numpy())

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Which highest scores are those of the labels that the attacker wants, (N,)."""
        return answers.argmax(1) == wanted
