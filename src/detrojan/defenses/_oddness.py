"""How odd it is that one class stands out: by the change that leads to it, or by what is read beside it."""

FEWEST = 3
"""With fewer classes to compare none is odd."""
STEEPNESS = 12
"""How steeply oddness falls with the ratio."""
ENOUGH = 0.5
"""More odd than not."""


def oddness(ratio: float) -> float:
    """In [0, 1], near 1 for small ratios: of what stands out to what comes next, over that which is as odd as not."""
    return float(1 / (1 + ratio**STEEPNESS))
