"""How far anything that lasts has come: what those who wait are told."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of anything that lasts: `index` of `total` steps done, the loss of the last one, what is being done."""

    index: int
    total: int
    loss: float
    stage: str


OnStep = Callable[[Step], None]
