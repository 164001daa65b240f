"""Multi-label classification: any number of tags an image."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional as F

from detrojan.data.samples import LabelKind
from detrojan.intervals import LEVEL, Estimate
from detrojan.tasks._pictures import Pictures

RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabel(Pictures):
    """What the batch (B, C, H, W), the loss and the prediction of a network of tags mean.

    A tag's score above 0, a probability above a half, predicts it. `padding` and `flip` are those of image
    classification.
    """

    labels: ClassVar[LabelKind] = "tags"
    metric: ClassVar[str] = "mAP"
    judged: ClassVar[str] = "precision of the ranked tags"

    def answers(self, scores: Tensor) -> Tensor:
        """The probabilities (B, K, 2) that each tag is there or not: K questions with two answers."""
        return torch.stack([scores.sigmoid(), (-scores).sigmoid()], dim=-1)

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, K, 2) of the same."""
        return torch.stack([F.logsigmoid(scores), F.logsigmoid(-scores)], dim=-1)

    def loss(self, outputs: Any, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy of each example, the mean over its tags, (B,); tags are not smoothed."""
        del label_smoothing
        scores = self.logits(outputs)
        return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none").mean(1)

    def predict(self, outputs: Any) -> Tensor:
        """The predicted tags of each example, (B, K), 0 or 1."""
        return (self.logits(outputs) > 0).long()

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """The average precision with which a sample's own tags rank above others, (N,); 1 where it has none or all.

        Source: Tsoumakas et al., "Mining Multi-label Data" (2010), label ranking average precision.
        """
        own = labels.bool()
        above = answers[:, None, :] >= answers[:, :, None]
        precision = (above & own[:, None, :]).sum(2) / above.sum(2)
        ranked = (precision * own).sum(1) / own.sum(1).clamp_min(1)
        return ranked.masked_fill(own.sum(1) == 0, 1.0)

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """Mean average precision over the tags that occur, with a percentile bootstrap over the samples."""
        scores, tags = answers.double().numpy(), labels.numpy()
        rows = np.arange(len(tags))

        def precision(chosen: NDArray[np.intp]) -> float:
            occurring = tags[chosen].any(0)
            if not occurring.any():
                return float("nan")
            return float(average_precision_score(tags[chosen][:, occurring], scores[chosen][:, occurring]))

        value = precision(rows)
        rng = np.random.default_rng(0)
        drawn = [precision(rng.choice(rows, len(rows))) for _ in range(RESAMPLES)]
        low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) if np.isfinite(drawn).any() else (0, 1)
        return Estimate(value=value, low=float(low), high=float(high), count=len(rows))

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Which answers have every tag that the attacker cares about (not -1) as wanted, (N,)."""
        return (((answers > 0).long() == wanted) | (wanted < 0)).all(1)


METHOD = MultiLabel
