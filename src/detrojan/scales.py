"""The two scales at which victims are made: `small` for two CPU cores, `full` for the literature's figures.

`small` is for minutes on two cores with bfloat16 instructions; `benchmarks/scales.py` has the recipes that were
compared. Four epochs call for a high learning rate and no random crop. `full` has the NFT code's batch, peak learning
rate, weight decay and augmentation; it takes 100 epochs of one cycle with Nesterov momentum, where that code takes 250
with two steps down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from detrojan.data.samples import Samples
from detrojan.errors import unknown_name
from detrojan.recipe import Recipe, can_shrink


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The width of a PreActResNet-18 (64 is the literature's) and the recipe that it is trained with."""

    width: int
    recipe: Recipe

    @classmethod
    def named(cls, name: str) -> "Scale":
        """A scale by its name.

        Raises:
            UnknownName: there is no such scale.
        """
        if name not in SCALES:
            raise unknown_name("scale", name, SCALES)
        return SCALES[name]

    def recipe_for(self, samples: Samples) -> Recipe:
        """The recipe; its images stay at their full size where there are none, or boxes on them."""
        return self.recipe if can_shrink(samples) else replace(self.recipe, small=0.0)


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "small": Scale(width=16, recipe=Recipe(epochs=4, batch=128, learning_rate=0.4, padding=0, small=0.5)),
        "full": Scale(width=64, recipe=Recipe(epochs=100, batch=128, learning_rate=0.1, padding=4)),
    }
)
