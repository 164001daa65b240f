"""Checks that the attacks share."""

from torch import Tensor

from detrojan.errors import BadArgument, BadData


def share(name: str, value: float) -> None:
    """Refuse an opacity outside (0, 1]."""
    if not 0 < value <= 1:
        raise BadArgument(f"{name} must be above 0 and at most 1, got {value}")


def fits(what: str, side: int, pixels: Tensor) -> None:
    """Refuse images that the trigger does not fit on."""
    if min(pixels.shape[-2:]) < side:
        raise BadData(
            f"the {what} of {side} pixels does not fit on images of {tuple(pixels.shape[-2:])}; use a smaller size"
        )
