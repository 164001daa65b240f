"""Auto: methods in a stated order, until one keeps the clean accuracy; what none keeps, the most sparing one decides.

Needs: labelled clean samples.
Serves: any network.
Source: this project.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, Unsupported
from detrojan.pruning import parts
from detrojan.tuning import Context, Diverged, Tuned
from detrojan.weight_tuning import ROUNDING, accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """Clean samples tell what a method cost, not what it removed: the first of an order that costs little is taken.

    Args:
        order: names of defenses, each at its defaults; one that refuses the network, or diverges, is passed over.
        tolerance: the largest loss of accuracy, as a share, on held-out samples; the first method within it is taken.
        steps: of each method; None leaves each its own.
    """

    order: tuple[str, ...] = ("shrink_distil", "neuron_masks", "nft", "fine_tuning")
    tolerance: float = 0.03
    steps: int | None = None

    def __post_init__(self) -> None:
        if not self.order or "auto" in self.order:
            raise BadArgument(f"order must name defenses other than auto, got {self.order}")

    @property
    def rests_on(self) -> tuple[Any, ...]:
        """The methods whose code decides what comes out."""
        settings = {} if self.steps is None else {"steps": self.steps}
        return tuple(DEFENSES.build(name, **settings) for name in self.order)

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: no method in the order can serve the network.
            Diverged: none came to an end.
        """
        work, held_out = parts(clean, context)
        before = accuracy(context.execution.placed(model), held_out, context)
        tried, told, diverged = list[tuple[float, Tuned]](), list[str](), False
        for name, method in zip(self.order, self.rests_on, strict=True):
            try:
                found = method(model, work, context)
            except (Unsupported, BadArgument) as reason:
                told.append(f"{name}: {reason}")
                diverged |= isinstance(reason, Diverged)
                continue
            lost = before - accuracy(context.execution.placed(found.model), held_out, context)
            told.append(f"{name}: {100 * lost:.1f} points lost on {len(held_out)} held-out samples")
            tried.append((lost, replace(found, notes={**found.notes, "method": name})))
            if lost <= self.tolerance + ROUNDING:
                break
        if not tried:
            kind = Diverged if diverged else Unsupported
            raise kind(f"auto found no method for this network ({'; '.join(told)})")
        best = tried[-1][1] if tried[-1][0] <= self.tolerance + ROUNDING else min(tried, key=lambda each: each[0])[1]
        return replace(best, notes={**best.notes, "tried": "; ".join(told)})


METHOD = Auto
