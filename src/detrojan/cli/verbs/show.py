"""`detrojan show`: what a weights file holds, without running anything from it and without its network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from detrojan.cli.console import Screen, size
from detrojan.cli.options import Flag

if TYPE_CHECKING:
    from detrojan.checkpoint import Description

LISTED = 12
"""Tensors that are shown unless all are asked for: half from the front, half from the end, where the head is."""


def run(
    file: Path,
    /,
    *,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: Flag = False,
) -> int:
    """Tell what a weights file holds, without running anything from it.

    Args:
        file: The weights: .safetensors, .pt, .pth, .bin, .tar or .ckpt.
        every: Show every tensor.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    from detrojan.checkpoint import describe

    found = describe(file)
    screen.facts(
        {
            "File": f"{found.path} ({size(found.size)})",
            "SHA-256": found.sha256,
            "Format": found.format,
            "State dict": f"under {'.'.join(found.location)!r}" if found.location else "at the top",
            "Copies": ", ".join(".".join(place) for place in found.copies) or None,
            "Same shapes": ", ".join(".".join(place) or "the top" for place in found.lookalikes) or None,
            "Beside it": ", ".join(f"{name} ({value})" for name, value in found.other_entries.items()) or None,
            "Parameters": f"{found.parameters:,} in {found.tensors} tensors",
            "Types": ", ".join(f"{count} {name}" for name, count in found.dtypes.items()),
            "Prefix": found.prefix or None,
            "Tied": "; ".join(" = ".join(group) for group in found.tied) or None,
            "Classes": f"{found.num_classes} (a guess from the last matrix)" if found.num_classes else None,
        }
    )
    if found.not_finite:
        screen.say(f"NaN or infinite values in {', '.join(found.not_finite)}", style="bold red")
    screen.table("Tensors", ("name", "shape"), _rows(found, every=every))
    screen.finish({"verb": "show", "description": found, "exit_code": 0})
    return 0


def _rows(found: "Description", *, every: bool) -> list[tuple[str, str]]:
    rows = [(name, " x ".join(map(str, shape)) or "scalar") for name, shape in found.shapes.items()]
    if every or len(rows) <= LISTED + 1:
        return rows
    half = LISTED // 2
    return [*rows[:half], (f"... {len(rows) - LISTED} more (--all shows them)", ""), *rows[-half:]]
