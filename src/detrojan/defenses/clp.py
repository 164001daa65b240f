"""CLP, channel Lipschitzness pruning: channels that can amplify their input far more than their neighbours go.

Needs: no samples (one batch is run to see which norm follows which convolution).
Serves: networks in which batch norms take in the outputs of convolutions.
Source: Zheng et al., "Data-free Backdoor Removal based on Channel Lipschitzness" (ECCV 2022). Its code takes the
convolution that is listed before a norm; here it is the one, or the sum of several, that runs into the norm.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.tracing import norms_and_convolutions
from detrojan.tuning import Context, Tuned


@dataclass(frozen=True, slots=True, kw_only=True)
class CLP:
    """Cut the channels whose bound lies more than `deviations` standard deviations over the mean of their layer."""

    deviations: float = 3.0

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: no batch norm takes in the output of a convolution.
        """
        context.need_whole_weights("clp")
        network = context.execution.place(copy.deepcopy(model))
        pairs = norms_and_convolutions(network, clean, context)
        found = [(norm, convolutions) for norm, convolutions in pairs if norm.weight is not None]
        if not found:
            raise Unsupported(
                "clp needs batch norms with weights that take in the outputs of convolutions, and there are none"
            )
        cut = total = 0
        for norm, convolutions in found:
            bounds = lipschitz_bounds(norm, convolutions)
            gone = bounds > bounds.mean() + self.deviations * bounds.std()
            with torch.no_grad():
                norm.weight[gone] = norm.bias[gone] = 0
            cut, total = cut + int(gone.sum()), total + len(gone)
        return Tuned(model=network, masks={}, losses=(), notes={"channels cut": cut, "of channels": total})


@torch.no_grad()
def lipschitz_bounds(norm: Any, convolutions: Sequence[Any]) -> Tensor:
    """An upper bound for each channel (C,): its kernels' largest singular values, summed, times the norm's factor."""
    values = torch.zeros_like(norm.running_var, dtype=torch.float32)
    for convolution in convolutions:
        kernels = convolution.weight.float()
        if convolution.transposed:
            kernels = kernels.transpose(0, 1)
        values += torch.linalg.matrix_norm(kernels.flatten(2), ord=2)
    return values * (norm.weight.float() / (norm.running_var.float() + norm.eps).sqrt()).abs()


METHOD = CLP
