"""Point clouds as samples: floats (N, P, 3), each cloud centred and scaled into the unit sphere, axis 2 up."""

from pathlib import Path

from torch import Tensor

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadFile


def unit_sphere(clouds: Tensor) -> Tensor:
    """Clouds (..., P, 3) with their mean at the origin and their furthest point at distance 1; fp32."""
    centred = clouds.double() - clouds.double().mean(-2, keepdim=True)
    reach = centred.norm(dim=-1, keepdim=True).amax(-2, keepdim=True)
    return (centred / reach.clamp_min(1e-12)).float()


def first_points(clouds: Tensor, points: int, *, source: Path) -> Tensor:
    """The first `points` of each stored cloud, whose points lie in random order.

    Raises:
        BadArgument: fewer are stored.
    """
    if points > clouds.shape[1]:
        raise BadArgument(f"{source} has {clouds.shape[1]} points a cloud; points must be at most that, got {points}")
    return clouds[:, :points]


def as_samples(clouds: Tensor, labels: Tensor, *, class_names: tuple[str, ...], name: str) -> Samples:
    """Samples of clouds (N, P, 3), brought into the unit sphere, and their labels (N,)."""
    return Samples(inputs=unit_sphere(clouds), labels=labels.long(), class_names=class_names, name=name)


def check(clouds: Tensor, labels: Tensor, classes: int, *, source: Path) -> None:
    """Refuse a file whose clouds and labels do not fit each other, or hold what no cloud has.

    Raises:
        BadFile: the sentence names the file.
    """
    problems = []
    if clouds.ndim != 3 or clouds.shape[-1] != 3 or clouds.shape[1] == 0:
        problems.append(f"its clouds have shape {tuple(clouds.shape)}, not (N, P, 3)")
    if labels.shape != clouds.shape[:1]:
        problems.append(f"it has {len(clouds)} clouds and labels of shape {tuple(labels.shape)}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        problems.append(f"its labels go from {int(labels.min())} to {int(labels.max())}, past {classes} classes")
    if not clouds.isfinite().all():
        problems.append("it holds NaN or infinity")
    if problems:
        raise BadFile(f"{source}: no clouds to learn from ({'; '.join(problems)}); fetch the file again")


def at_least_two(points: int, *, name: str) -> None:
    """Refuse a number of points that makes no cloud."""
    if not isinstance(points, int) or points < 2:
        raise BadArgument(f"{name}: points must be a number of at least 2, got {points!r}")
