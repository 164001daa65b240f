"""PointBA-O: the object turned a little about the vertical axis. Source: Li et al., "PointBA" (ICCV 2021)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from detrojan.attacks._clouds import rotated, turn
from detrojan.data.samples import Kind
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBAO(Trigger):
    """A rotation by `degrees` about axis 2, of objects that all stand in the same direction (ModelNet's do).

    A network that is trained under random rotations about that axis cannot learn it. Dirty label; the trigger is
    stamped before augmentation.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("points",)

    degrees: float = 10.0

    def __post_init__(self) -> None:
        turn(self.degrees)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Turn points (B, P, 3)."""
        return rotated(pixels, self.degrees)


METHOD = PointBAO
