"""Classification of point clouds: one label a set of points (x, y, z)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from detrojan import augmentation, views
from detrojan.augmentation import Mixed
from detrojan.errors import BadArgument, BadData
from detrojan.tasks._classification import Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCloud(Classification):
    """What the batch (B, P, 3), the loss and the prediction of a network of point clouds mean.

    Clouds are scaled by a factor from 1 - `scale` to 1 + `scale`, and moved by up to `shift` along each axis; both
    count in units of the coordinates, in which objects reach from about -1 to 1. `mix` says how two clouds are mixed:
    `cut` takes a share of the points of each, `assignment` moves each point on the way to its partner in the cheapest
    matching of the two clouds (PointMixup: Chen et al., 2020), which takes far longer.
    """

    scale: float = 0.2
    shift: float = 0.1
    mix: Literal["cut", "assignment"] = "cut"

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1 or self.shift < 0:
            raise BadArgument(f"scale must lie in [0, 1) and shift be at least 0, got {self.scale} and {self.shift}")

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of a batch (B, P, 3): each cloud is scaled and moved."""
        _need_clouds(inputs)
        scaled = augmentation.brightness(inputs, generator, strength=self.scale)
        draw = torch.rand(len(inputs), 1, 3, generator=generator, device=generator.device).to(inputs.device)
        return scaled + self.shift * (2 * draw - 1).to(inputs.dtype)

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each cloud with a partner of the batch, as `mix` says."""
        mix = augmentation.point_mixup if self.mix == "assignment" else augmentation.point_cutmix
        return mix(inputs, generator)

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Each cloud (B, P, 3) turned or with a ball of points in it, by default random ones, and what was done."""
        _need_clouds(inputs)
        done = views.turns_and_balls(len(inputs), generator) if signs is None else signs
        return views.turned_or_filled(inputs, done, generator), done


def _need_clouds(inputs: Tensor) -> None:
    if inputs.ndim != 3 or inputs.shape[-1] != 3 or not inputs.is_floating_point():
        raise BadData(
            f"clouds are floats (B, P, 3), found {inputs.dtype} of {tuple(inputs.shape)}; choose the task that fits"
        )


METHOD = PointCloud
