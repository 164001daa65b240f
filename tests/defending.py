"""Every defense with few steps, for tests of what it does and not of how well."""

from dataclasses import fields
from typing import Any

from torch import nn

import detrojan
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES


def quick(name: str, steps: int = 4) -> Any:
    """A defense with few steps of each kind."""
    few = {"steps": steps, "batch": 16, "rounds": 2, "warmup": 2, "every": 1, "strong_views": 30, "joined_views": 30}
    names = {f.name for f in fields(DEFENSES[name])}
    asked = {n: few.get(n, steps // 2 + 1) for n in names if n in few or n.endswith(("_steps", "_epochs"))}
    return DEFENSES[name](**asked)


def purify(model: nn.Module, clean: Samples, *, method: Any, **more: Any) -> Any:
    """The public call, with the clean samples as the training set where the method wants one."""
    training = clean if getattr(method, "needs_training_set", False) else None
    return detrojan.purify(model, clean, method=method, training=training, **more)
