"""Inputs on a terminal: small pictures, one character for two pixels above one another, or sentences."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from detrojan.report.inputs import Exchange

SHADES = " ░▒▓█"


def beside(panels: "list[tuple[str, Tensor]]", *, across: int) -> str:
    """Inputs (C, H, W), (C, T, H, W) or (P, 3) with a caption each, drawn in a row, each `across` characters wide."""
    width = max(max(len(caption) for caption, _ in panels), across) + 4
    lines = [""] * (across // 2)
    for _, given in panels:
        rows = _grey(given, across).reshape(across // 2, 2, across).mean(1)
        for index, row in enumerate(rows.tolist()):
            drawn = "".join(SHADES[round(value * (len(SHADES) - 1))] for value in row)
            lines[index] += f"  {drawn}".ljust(width)
    captions = "".join(f"  {caption}".ljust(width) for caption, _ in panels)
    return "\n".join([*(line.rstrip() for line in lines), captions.rstrip()]) + "\n"


def exchanges(given: "Sequence[Exchange]") -> str:
    """What two networks answer, four lines a sentence; `!` marks what the attacker wants to be said."""
    lines = []
    for each in given:
        rows = [("asked", each.source, False), ("right", each.reference, False)]
        rows += [("victim", each.before, each.fooled[0]), ("purified", each.after, each.fooled[1])]
        lines += [f"{'!' if fooled else ' '} {name:<9} {said or '(nothing)'}" for name, said, fooled in rows]
        lines.append("")
    return "\n".join(lines)


def outlined(image: "Tensor", boxes: "Tensor") -> "Tensor":
    """A dimmed image (C, H, W) of bytes with its boxes (M, 5) as bright frames of two pixels."""
    drawn = image // 3
    for _, left, top, right, bottom in boxes[boxes[:, 0] >= 0].tolist():
        for rows, columns in (
            (slice(top, top + 2), slice(left, right)),
            (slice(max(0, bottom - 2), bottom), slice(left, right)),
            (slice(top, bottom), slice(left, left + 2)),
            (slice(top, bottom), slice(max(0, right - 2), right)),
        ):
            drawn[:, rows, columns] = 255
    return drawn


def _grey(given: "Tensor", across: int) -> "Tensor":
    """A square of values in [0, 1]: an image, a clip's middle frame, or how many points lie in front of a place."""
    import torch
    from torch.nn import functional as F

    if given.ndim == 2:
        places = ((given[:, [2, 0]].clamp(-1, 1) * torch.tensor([-1, 1]) + 1) / 2 * (across - 1)).round().long()
        counts = torch.zeros(across, across).index_put_((places[:, 0], places[:, 1]), torch.ones(1), accumulate=True)
        return (counts / (8 * len(given) / across**2)).clamp(0, 1)
    image = given[:, given.shape[1] // 2] if given.ndim == 4 else given
    grey = image.float().mean(0, keepdim=True)[None] / 255
    if tuple(grey.shape[-2:]) != (across, across):
        grey = F.interpolate(grey, size=(across, across), mode="bilinear", antialias=True)
    return grey[0, 0].clamp(0, 1)
