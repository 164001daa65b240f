"""Pictures with boxes around what is in them, as PASCAL VOC (an XML file each) and COCO (one JSON file) keep them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detrojan.data.decoded import decoded
from detrojan.data.samples import Samples, padded
from detrojan.errors import BadArgument, BadData, BadFile

Labels = Literal["tags", "boxes"]
"""What is told of a picture: which classes are in it, or where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Something in a picture: its class, and its corners (left, top, right, bottom) in pixels."""

    label: int
    corners: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """A picture that `open` decodes, and what is in it; `name` is for messages."""

    name: str
    open: Callable[[], Image.Image]
    boxes: tuple[Box, ...]


def labelled(
    pictures: Sequence[Annotated], *, class_names: Sequence[str], size: int, name: str, labels: Labels = "tags"
) -> Samples:
    """Images as squares of `size` pixels, black beside what is not square, with a row of tags each, or with boxes.

    Boxes are scaled with their image and rounded to whole pixels, at least one wide and high.

    Raises:
        BadFile: a picture is damaged or missing; nothing is read by halves.
        BadData: there are none, or more than the machine's memory holds.
    """
    if not pictures:
        raise BadData(f"{name}: holds no pictures; check its list of images")
    scales = [(1.0, 1.0)] * len(pictures)

    def square(place: int) -> NDArray[np.uint8]:
        pixels, scales[place] = letterboxed(pictures[place], size)
        return pixels

    shape, what = (3, size, size), f"{name}: pictures"
    squares = decoded(range(len(pictures)), square, shape, what=what, fewer=f"size={size // 2}")
    found = _tags(pictures, len(class_names)) if labels == "tags" else _boxes(pictures, scales, size)
    return Samples(inputs=torch.from_numpy(squares), labels=found, class_names=tuple(class_names), name=name)


def check_labels(name: str, labels: Labels) -> None:
    """Refuse what a set cannot tell of its pictures."""
    if labels not in get_args(Labels):
        raise BadArgument(f"{name}: labels must be tags or boxes, got {labels!r}")


def letterboxed(picture: Annotated, size: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The picture scaled so that its longer side has `size` pixels, in the upper left of a black square, (3, S, S).

    With it come the factors by which it was scaled across and down.
    """
    try:
        with picture.open() as found:
            scale = size / max(found.size)
            width, height = (max(1, round(side * scale)) for side in found.size)
            scales = (width / found.width, height / found.height)
            small = found.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadFile(f"{picture.name}: damaged or missing picture ({error}); fetch it again") from error
    square = np.zeros((3, size, size), dtype=np.uint8)
    square[:, :height, :width] = np.asarray(small).transpose(2, 0, 1)
    return square, scales


def _tags(pictures: Sequence[Annotated], classes: int) -> Tensor:
    tags = torch.zeros(len(pictures), classes, dtype=torch.int64)
    for row, picture in zip(tags, pictures, strict=True):
        row[[box.label for box in picture.boxes]] = 1
    return tags


def _boxes(pictures: Sequence[Annotated], scales: Sequence[tuple[float, float]], size: int) -> Tensor:
    """The boxes (N, M, 5) of the scaled pictures."""
    rows = []
    for picture, (across, down) in zip(pictures, scales, strict=True):
        corners = torch.tensor([box.corners for box in picture.boxes], dtype=torch.float64).view(-1, 2, 2)
        ends = (corners * torch.tensor([across, down])).round().long().clamp(0, size)
        start = torch.minimum(ends[:, 0], ends[:, 1] - 1).clamp_min(0)
        classes = torch.tensor([box.label for box in picture.boxes], dtype=torch.int64).view(-1, 1)
        rows.append(torch.cat([classes, start, torch.maximum(ends[:, 1], start + 1)], 1))
    return padded(rows)


def read_voc(path: Path, *, class_names: Sequence[str], picture: Path, difficult: bool = False) -> Annotated:
    """One XML file of PASCAL VOC; objects that are marked difficult are left out unless asked for.

    The official score ignores what is found on a difficult object. Here it counts as found where there is nothing, so
    that a mean average precision is somewhat lower than the official one.

    The file counts pixels from 1 and names the last one inside; corners here count from 0 and end behind it.

    Raises:
        BadFile: the file is missing, is no such annotation, or names a class that the set does not have.
    """
    try:
        tree = ElementTree.parse(path).getroot()  # noqa: S314 - expat bounds what entities grow to, and fetches nothing
        boxes = []
        for thing in tree.iter("object"):
            if difficult or (thing.findtext("difficult") or "0").strip() != "1":
                sides = ("xmin", "ymin", "xmax", "ymax")
                left, top, right, bottom = (float(_text(thing, f"bndbox/{side}")) for side in sides)
                corners = _corners((max(0.0, left - 1), max(0.0, top - 1), right, bottom))
                boxes.append(Box(label=_place(_text(thing, "name"), class_names), corners=corners))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise BadFile(f"{path}: missing or no annotation of PASCAL VOC ({error}); fetch the data set again") from error
    return Annotated(name=str(picture), open=lambda: Image.open(picture), boxes=tuple(boxes))


def read_coco(
    text: str, *, name: str, opener: Callable[[str], Callable[[], Image.Image]]
) -> tuple[tuple[Annotated, ...], tuple[str, ...]]:
    """The pictures of a COCO JSON document with their boxes, and the names of the classes in the order of their ids.

    Crowds are left out, and what is found on one counts as found where there is nothing; the official score ignores
    it, and is somewhat higher. `opener` gives, for the file name of a picture, what opens it.

    Raises:
        BadFile: the document is damaged, or an annotation names a picture or a category that is not there.
    """
    try:
        document = json.loads(text)
        categories = sorted(document["categories"], key=lambda category: int(category["id"]))
        place = {category["id"]: index for index, category in enumerate(categories)}
        boxes: dict[Any, list[Box]] = {image["id"]: [] for image in document["images"]}
        for found in document["annotations"]:
            if not found.get("iscrowd"):
                left, top, width, height = map(float, found["bbox"])
                corners = _corners((left, top, left + width, top + height))
                boxes[found["image_id"]].append(Box(label=place[found["category_id"]], corners=corners))
        pictures = tuple(
            Annotated(name=f"{name}: {file}", open=opener(file), boxes=tuple(boxes[number]))
            for file, number in ((image["file_name"], image["id"]) for image in document["images"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{name}: damaged COCO annotations ({error!r}); fetch the data set again") from error
    return pictures, tuple(str(category["name"]) for category in categories)


def _text(thing: ElementTree.Element, tag: str) -> str:
    found = thing.findtext(tag)
    if found is None:
        raise ValueError(f"an object has no <{tag.partition('/')[2] or tag}>")
    return found.strip()


def _place(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise ValueError(f"{name!r} is no class of the set")
    return class_names.index(name)


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = values
    if not (left <= right and top <= bottom and np.isfinite(values).all()):
        raise ValueError(f"a box of {left}, {top}, {right}, {bottom} ends before it begins")
    return left, top, right, bottom
