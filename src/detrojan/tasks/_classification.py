"""What all tasks share in which a network gives one score a class: its loss, its prediction, its MixUp."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan import augmentation
from detrojan.augmentation import Mixed
from detrojan.errors import Unsupported


class Classification:
    """One label a sample; a task adds how its inputs are augmented, and where it must, how they are mixed."""

    __slots__ = ()

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of stored inputs (B, ...); by default none."""
        del generator
        return inputs

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each prepared input (B, ...) with a partner of the same batch."""
        return augmentation.mixup(inputs, generator)

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

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """Cross-entropy of each example, (B,)."""
        return F.cross_entropy(self.logits(outputs), labels, reduction="none")

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, (B,)."""
        return self.logits(outputs).argmax(1)
