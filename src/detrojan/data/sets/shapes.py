"""Shapes: synthetic point clouds of eight solids of random proportions, for machines without data."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path

import torch
from torch import Tensor

from detrojan.data.clouds import as_samples, at_least_two
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """`per_class` clouds of each shape, of `points` points, stretched along each axis by a factor from 0.6 to 1.4.

    `noise` is the standard deviation that is added to each coordinate, of shapes that reach from about -1 to 1. Each
    cloud is then centred on its mean and scaled into the unit sphere. No files: the same settings always give the same
    clouds, others for training than for testing.
    """

    points: int = 1024
    per_class: int = 100
    noise: float = 0.01

    def __post_init__(self) -> None:
        at_least_two(self.points, name="shapes")
        if not isinstance(self.per_class, int) or self.per_class < 1:
            raise BadArgument(f"shapes: per_class must be a number of at least 1, got {self.per_class!r}")
        if not self.noise >= 0:
            raise BadArgument(f"shapes: noise must be at least 0, got {self.noise!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - nothing to look for
        """Draw them."""
        generator = Seeds(seed=0).generator(f"shapes {split}")

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64)

        parts = []
        for surface in SURFACES.values():
            clouds = surface(uniform(3, self.per_class, self.points))
            clouds = clouds * (0.6 + 0.8 * uniform(self.per_class, 1, 3))
            noise = torch.randn(clouds.shape, generator=generator, dtype=torch.float64)
            parts.append(clouds + self.noise * noise)
        labels = torch.arange(len(SURFACES)).repeat_interleave(self.per_class)
        name = f"shapes {split} ({self.points} points, {self.per_class} per class)"
        return as_samples(torch.cat(parts), labels, class_names=tuple(SURFACES), name=name)


def _sphere(u: Tensor) -> Tensor:
    return _turned((1 - (2 * u[0] - 1).square()).sqrt(), 2 * u[0] - 1, u[1])


def _box(u: Tensor) -> Tensor:
    """Two coordinates anywhere, the third on a face."""
    axis, side = (6 * u[2]).long().clamp(max=5) % 3, (6 * u[2]).long().clamp(max=5) // 3 * 2.0 - 1
    a, b = 2 * u[0] - 1, 2 * u[1] - 1
    faces = torch.stack([torch.stack(face, -1) for face in ((side, a, b), (a, side, b), (a, b, side))])
    return faces.gather(0, axis[None, ..., None].expand(1, *axis.shape, 3))[0]


def _cylinder(u: Tensor) -> Tensor:
    """Two thirds of the surface are the wall, the rest the two lids."""
    wall, lid = u[2] < 2 / 3, torch.where(u[2] < 5 / 6, -1.0, 1.0)
    return _turned(torch.where(wall, 1.0, u[0].sqrt()), torch.where(wall, 2 * u[0] - 1, lid), u[1])


def _cone(u: Tensor) -> Tensor:
    """A mantle of height 2 over a base of radius 1, by their areas."""
    radius, mantle = u[0].sqrt(), u[2] < 5**0.5 / (5**0.5 + 1)
    return _turned(radius, torch.where(mantle, 1 - 2 * radius, -1.0), u[1])


def _torus(u: Tensor) -> Tensor:
    """A tube of radius 0.3 around a circle of radius 0.7; a little denser inside."""
    around = 2 * pi * u[0]
    return _turned(0.7 + 0.3 * around.cos(), 0.3 * around.sin(), u[1])


def _cross(u: Tensor) -> Tensor:
    """Two upright sheets through each other."""
    flat, height, zero = 2 * u[0] - 1, 2 * u[1] - 1, torch.zeros_like(u[0])
    first = (u[2] < 0.5)[..., None]
    return torch.where(first, torch.stack([flat, zero, height], -1), torch.stack([zero, flat, height], -1))


def _steps(u: Tensor) -> Tensor:
    """Three treads and the risers in front of them."""
    step = (3 * u[2]).long().clamp(max=2)
    across, along = 2 * u[0] - 1, 2 * u[1]
    tread = along < 1
    depth = torch.where(tread, step + along, step.double())
    height = torch.where(tread, step + 1.0, step + along - 1)
    return torch.stack([across, depth / 1.5 - 1, height / 1.5 - 1], -1)


def _helix(u: Tensor) -> Tensor:
    """Two turns of a thin band."""
    return _turned(0.8 + 0.2 * u[1], 2 * u[0] - 1, 2 * u[0])


def _turned(radius: Tensor, height: Tensor, turn: Tensor) -> Tensor:
    """Points from cylinder coordinates; `turn` counts in whole turns."""
    return torch.stack([radius * (2 * pi * turn).cos(), radius * (2 * pi * turn).sin(), height], -1)


SURFACES: dict[str, Callable[[Tensor], Tensor]] = {
    "sphere": _sphere,
    "box": _box,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "cross": _cross,
    "steps": _steps,
    "helix": _helix,
}
"""Each maps three uniform draws in [0, 1], (3, N, P), to clouds (N, P, 3) on a surface."""

METHOD = Shapes
