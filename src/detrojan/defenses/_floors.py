"""How low NFT's masks may go: mu(l), layer by layer, so that shallow layers are protected."""

from collections.abc import Callable
from math import cos, exp, pi
from typing import Literal

Floor = Literal["exponential", "constant", "linear", "cosine", "reciprocal", "none"]


def floors_of(levels: tuple[int, ...], *, shape: Floor, alpha: float, beta: float) -> list[float]:
    """mu(l), the lowest value of each mask, for levels l that count from 1."""
    last = max(levels, default=1)
    curves: dict[Floor, Callable[[int], float]] = {
        "exponential": lambda level: alpha * exp(-beta * level),
        "constant": lambda level: alpha,
        "linear": lambda level: alpha * (1 - level / last),
        "cosine": lambda level: alpha * (1 + cos(pi * level / last)) / 2,
        "reciprocal": lambda level: alpha / level,
        "none": lambda level: 0.0,
    }
    return [curves[shape](level) for level in levels]
