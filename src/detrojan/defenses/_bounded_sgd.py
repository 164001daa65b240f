"""SGD on several groups of parameters: rates rise, are held and fall; gradients have a bounded length."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from detrojan.defenses._steering import held_then_falling

MOMENTUM = 0.9
WARMUP = 0.1
"""The share of the steps in which the rates rise: early answers to views are far off."""
LONGEST = 1.0
"""The gradient of each group is cut to this length."""


def bounded_sgd(groups: list[dict[str, Any]], steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """The optimizer of groups with a rate each, and the schedule, which takes a step after each of its own."""

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / (WARMUP * steps + 1)) * held_then_falling(step, steps)

    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)
    schedule = LambdaLR(optimizer, rate)
    optimizer.register_step_pre_hook(_cut)
    return optimizer, schedule


def _cut(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], LONGEST)
