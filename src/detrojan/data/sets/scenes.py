"""Scenes: drawn pictures with several coloured figures each, for tags and boxes where no photographs are at hand."""

from dataclasses import dataclass
from functools import partial
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detrojan.data.annotations import Annotated, Box, Labels, check_labels, labelled
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

CLASS_NAMES = ("disc", "square", "triangle", "star", "cross", "ring")
CORNERS = {"square": 4, "triangle": 3}
FINER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """`count` pictures of `size` pixels with one to four of six kinds of figures, of any colour, on noise; no files.

    Each split is drawn by a seed of its own; the test set has half as many. A picture has a row of tags, or with
    `labels=boxes` the box of each figure; then no figure hides another.
    """

    count: int = 3000
    size: int = 48
    labels: Labels = "tags"

    def __post_init__(self) -> None:
        check_labels("scenes", self.labels)
        if self.count < 2 or self.size < 16:
            raise BadArgument(f"scenes: count must be at least 2 and size 16, got {self.count} and {self.size}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - nothing to look for
        """Draw them."""
        seeds = Seeds(seed=0)
        count = self.count if split == "train" else self.count // 2
        apart = self.labels == "boxes"
        pictures = [_scene(seeds.number(f"{split} scene {index}"), self.size, apart=apart) for index in range(count)]
        return labelled(pictures, class_names=CLASS_NAMES, size=self.size, name=f"scenes {split}", labels=self.labels)


def _scene(seed: int, size: int, *, apart: bool) -> Annotated:
    """What a scene holds, and how to draw it; both follow from the seed. `apart` leaves out what touches another."""
    rng = np.random.default_rng(seed)
    boxes: list[Box] = []
    for _ in range(rng.integers(1, 5)):
        radius = rng.uniform(0.12, 0.24) * size
        x, y = rng.uniform(radius, size - radius, 2)
        box = Box(label=int(rng.integers(len(CLASS_NAMES))), corners=(x - radius, y - radius, x + radius, y + radius))
        if not (apart and any(_touch(box, other) for other in boxes)):
            boxes.append(box)
    told = tuple(map(_tight, boxes)) if apart else tuple(boxes)
    return Annotated(name=f"scene {seed}", open=partial(_drawn, seed, size, tuple(boxes)), boxes=told)


def _tight(box: Box) -> Box:
    """The box of the figure itself, which a square, a triangle and a star do not fill to all sides."""
    name, (left, top, right, bottom) = CLASS_NAMES[box.label], box.corners
    if name in ("disc", "ring", "cross"):
        return box
    across, down = zip(*_polygon(name, ((left + right) / 2, (top + bottom) / 2), (right - left) / 2), strict=True)
    return Box(label=box.label, corners=(min(across), min(down), max(across), max(down)))


def _touch(first: Box, second: Box) -> bool:
    (left, top, right, bottom), (west, north, east, south) = first.corners, second.corners
    return left < east and west < right and top < south and north < bottom


def _drawn(seed: int, size: int, boxes: tuple[Box, ...]) -> Image.Image:
    rng = np.random.default_rng([seed, 1])
    coarse = rng.integers(60, 140, (size // 4, size // 4, 3), dtype=np.uint8)
    sheet = Image.fromarray(coarse).resize((size * FINER, size * FINER), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(sheet)
    for box in boxes:
        colour = _colour(rng)
        left, top, right, bottom = (FINER * corner for corner in box.corners)
        _figure(pen, CLASS_NAMES[box.label], ((left + right) / 2, (top + bottom) / 2), (right - left) / 2, colour)
    small: NDArray[np.float64] = np.asarray(sheet.resize((size, size), Image.Resampling.LANCZOS)).astype(float)
    return Image.fromarray((small + rng.normal(0, 8, small.shape)).clip(0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Far from the grey of the ground: one channel dark and one bright, at least."""
    red, green, blue = rng.permutation([rng.integers(0, 40), rng.integers(0, 256), rng.integers(215, 256)]).tolist()
    return red, green, blue


def _figure(
    pen: ImageDraw.ImageDraw, name: str, centre: tuple[float, float], radius: float, colour: tuple[int, int, int]
) -> None:
    x, y = centre
    around = (x - radius, y - radius, x + radius, y + radius)
    if name == "disc":
        pen.ellipse(around, fill=colour)
    elif name == "ring":
        pen.ellipse(around, outline=colour, width=max(2, round(radius / 3)))
    elif name == "cross":
        bar = radius / 3
        pen.rectangle((x - radius, y - bar, x + radius, y + bar), fill=colour)
        pen.rectangle((x - bar, y - radius, x + bar, y + radius), fill=colour)
    else:
        pen.polygon(_polygon(name, centre, radius), fill=colour)


def _polygon(name: str, centre: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    """The corners of a square, a triangle or a star in a circle."""
    x, y = centre
    corners, inner = CORNERS.get(name, 10), 0.42 if name == "star" else 1.0
    turns = [(2 * turn + (corners == 4)) * pi / corners - pi / 2 for turn in range(corners)]
    radii = [radius * (inner if turn % 2 else 1.0) for turn in range(corners)]
    return [(x + r * cos(t), y + r * sin(t)) for r, t in zip(radii, turns, strict=True)]


METHOD = Scenes
