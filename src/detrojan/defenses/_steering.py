"""How hard neurons are pulled down: as hard as a stated loss of information allows."""

from dataclasses import dataclass, field
from math import cos, exp, pi

import torch

from detrojan.masks import Masks


@dataclass(slots=True)
class Steering:
    """Raises the pressure while less than the target is lost, and lowers it while more is."""

    target: float
    gain: float
    pressure: float
    average: float = field(default=0.0)

    def follow(self, lost: float) -> float:
        """Take note of what a step lost, and return the pressure."""
        self.average = 0.9 * self.average + 0.1 * lost
        error = (self.target - self.average) / self.target
        self.pressure *= exp(self.gain * max(-1.0, min(1.0, error)))
        return self.pressure

    def notes(self, masks: Masks) -> dict[str, float | int | str]:
        """What a reader of the verdict should know of how it went."""
        mean = float(torch.cat([factor.detach() for factor in masks.factors]).mean())
        return {
            "information lost": round(self.average, 4),
            "pressure": round(self.pressure, 3),
            "mean mask": round(mean, 4),
        }


def held_then_falling(step: int, steps: int) -> float:
    """A learning rate as a share of the first: held for the first half of the steps, then falling by a cosine."""
    half = steps / 2
    return 1.0 if step < half else (1 + cos(pi * (step - half) / half)) / 2
