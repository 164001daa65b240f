"""How much of what a network says about its inputs another one no longer says."""

import torch
from torch import Tensor
from torch.nn import functional as F


def information_lost(wanted: Tensor, given: Tensor) -> Tensor:
    """KL(teacher || student), as a share of what the teacher's answers tell about its inputs.

    Args:
        wanted: the teacher's probabilities (B, M, A) of A answers to M questions.
        given: the logarithms of the student's, on the same inputs.

    Returns:
        A scalar: the mean divergence over the mutual information H(mean answer) - mean H(answer) of the batch, both
        summed over the questions. 0 is the teacher itself; 1 is a student that always gives the teacher's mean answer.
    """
    divergence = F.kl_div(given, wanted, reduction="batchmean")
    return divergence / information(wanted).clamp_min(1e-3)


def information(answers: Tensor) -> Tensor:
    """What probabilities (B, M, A) tell about their inputs, in nats: H(mean answer) - mean H(answer)."""
    return _entropy(answers.mean(0)).sum() - _entropy(answers).sum(1).mean()


def _entropy(shares: Tensor) -> Tensor:
    return -torch.special.xlogy(shares, shares).sum(-1)
