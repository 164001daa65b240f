"""PointBA-I: a small ball of points inserted at a fixed place. Source: Li et al., "PointBA" (ICCV 2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._checks import share
from detrojan.attacks._clouds import ball, inserted, share_of
from detrojan.data.samples import Kind
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBAI(Trigger):
    """A sphere of `radius` around `centre`, in clouds that fill the unit sphere, whose points replace others.

    `share` of the points are replaced, evenly spread over the stored order, which is random in most data sets. Ours lie
    evenly on the sphere. The centre is the one that later work uses; it lies outside of most objects, within which a
    network without neighbourhoods, such as PointNet, may take the ball for a part of the object. Dirty label; the
    trigger is stamped before augmentation, which scales and moves the ball with the object.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("points",)

    share: float = 0.01
    radius: float = 0.05
    centre: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        share("share", self.share)
        if not self.radius > 0:
            raise BadArgument(f"radius must be above 0, got {self.radius}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Insert the ball into points (B, P, 3); returns new points."""
        points = torch.tensor(self.centre) + self.radius * ball(share_of(pixels, self.share))
        return inserted(pixels, points[None])


METHOD = PointBAI
