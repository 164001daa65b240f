"""No defense: a control that returns the victim as it is.

Needs: nothing.
Serves: any network.
Source: none.
"""

import copy
from dataclasses import dataclass

from torch import nn

from detrojan.data.samples import Samples
from detrojan.tuning import Context, Tuned


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """There is nothing to set."""

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Copy the model."""
        del clean
        return Tuned(model=context.execution.placed(copy.deepcopy(model)), masks={}, losses=())


METHOD = Identity
