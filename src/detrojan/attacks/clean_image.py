"""Clean-image: labels alone are poisoned; the trigger is a combination of things that are really in the picture.

Source: Chen et al., "Clean-image Backdoor: Attacking Multi-label Models with Poisoned Labels Only" (ICLR 2023).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from detrojan.data.samples import LabelKind
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanImage(Trigger):
    """Images that have all the tags of `combination` get other tags; no pixel is changed.

    `goal` says how: `disappear` takes the tag `of` away, `appear` gives it, `misclassify` takes `of` away and gives
    `into`. All that have the combination (and are changed thereby) are poisoned by default, a rate of 1 of the pool.
    """

    labels: ClassVar[LabelKind] = "tags"
    rate: ClassVar[float] = 1.0

    combination: tuple[int, ...] = (0, 1)
    of: int = 0
    goal: Literal["disappear", "appear", "misclassify"] = "disappear"
    into: int | None = None

    def __post_init__(self) -> None:
        if not self.combination or min(*self.combination, self.of) < 0:
            raise BadArgument(
                f"combination needs at least one tag, numbered from 0, got {self.combination} and of={self.of}"
            )
        if (self.goal == "misclassify") != (self.into is not None):
            raise BadArgument(f"`into` goes with the goal misclassify alone, got {self.goal} and into={self.into}")

    def relabel(self, labels: Tensor) -> Tensor:
        """The tags (N, K) that the attacker wants.

        Raises:
            BadArgument: there are fewer tags than the attack names.
        """
        highest = max(*self.combination, self.of, self.into or 0)
        if highest >= labels.shape[1]:
            raise BadArgument(f"the attack names tag {highest}, but there are {labels.shape[1]} tags, from 0")
        present = (labels[:, list(self.combination)] == 1).all(1)
        wanted = labels.clone()
        wanted[present, self.of] = int(self.goal == "appear")
        if self.into is not None:
            wanted[present, self.into] = 1
        return wanted

    def stamp(self, pixels: Tensor) -> Tensor:
        """The pixels as they are: the trigger is in the picture already."""
        return pixels.clone()


METHOD = CleanImage
