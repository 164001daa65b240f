"""What the attacks on point clouds (B, P, 3) share: balls of points that take the place of others, and rotations."""

from collections.abc import Iterator
from math import pi, radians

import torch
from torch import Tensor

from detrojan.errors import BadArgument


def ball(count: int) -> Tensor:
    """Points (K, 3) spread evenly over the unit sphere: a Fibonacci spiral."""
    step = torch.arange(count, dtype=torch.float64)
    height, turn = 1 - (2 * step + 1) / count, pi * (1 + 5**0.5) * step
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), height], -1).float()


def drawn(clouds: Tensor, *, steps: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` random batches of clouds (N, P, 3), at most `size` each."""
    for _ in range(steps):
        yield clouds[torch.randperm(len(clouds), generator=generator)[:size]]


def share_of(points: Tensor, share: float) -> int:
    """How many points of each cloud that share is; at least one."""
    return max(1, round(share * points.shape[1]))


def inserted(points: Tensor, others: Tensor) -> Tensor:
    """Clouds with `others` (B or 1, K, 3) in place of every (P / K)th point; each keeps its number of points."""
    count, size = others.shape[1], points.shape[1]
    if count >= size:
        raise BadArgument(f"{count} points cannot be put into clouds of {size}; use a smaller share")
    changed = points.clone()
    changed[:, torch.arange(count, device=points.device) * size // count] = others.to(points)
    return changed


def rotated(points: Tensor, degrees: float) -> Tensor:
    """Clouds turned about axis 2, which points up."""
    angle = torch.tensor(radians(degrees))
    x, y, z = points.unbind(-1)
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos(), z], -1)


def turn(degrees: float) -> None:
    """Refuse a rotation that is none."""
    if not 0 < degrees < 360:
        raise BadArgument(f"degrees must lie above 0 and below 360, got {degrees}")
