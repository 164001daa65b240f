"""What inputs look like on a page: images as they are, a clip's frames in a row, a cloud of points in perspective.

Where boxes are known they are drawn, with the names of their classes.
"""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from math import ceil, cos, radians, sin
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from detrojan.data.samples import Samples, kind_of
from detrojan.data.texts import SPECIAL
from detrojan.report import figures

MOST = 10
"""Inputs in a strip."""
MOST_CLIPS, FRAMES = 5, 8
SIDE, FINER = 96, 3
"""Of the picture of a cloud, in pixels; it is drawn so many times larger and scaled down."""
TURNED, RAISED = radians(35), radians(20)
"""Where a cloud is seen from: to the side of its first axis, and above its second."""
NEAR, FAR = (28, 60, 110), (190, 203, 222)
PAPER = (247, 247, 245)
MOST_BOXED, BOXED = 6, 200
"""Images with boxes in a strip, and the side in pixels to which they are enlarged by a whole number."""
PAD, END = SPECIAL.index("<pad>"), SPECIAL.index("<end>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Pictures in a row, each a data URI with its caption; `films` stand below each other, `few` are shown large."""

    heading: str
    pictures: Sequence[tuple[str, str]]
    films: bool = False
    few: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A sentence, the answer that is right, and what the victim and the purified network answer, all in words."""

    source: str
    reference: str
    before: str
    after: str
    triggered: bool = False
    fooled: tuple[bool, bool] = (False, False)


def exchanges(
    samples: Samples,
    before: Tensor,
    after: Tensor,
    *,
    most: int = 4,
    fooled: tuple[Tensor, Tensor] | None = None,
) -> list[Exchange]:
    """The first sentences with the answers (N, T) of both networks; under a trigger, those by which one was fooled.

    `fooled` tells of each triggered sample (N,) whether the victim, and the purified network, say what the attacker
    wants.
    """
    places = range(len(samples)) if fooled is None else (fooled[0] | fooled[1]).nonzero().flatten().tolist()
    return [
        Exchange(
            source=said(samples.vocabulary, samples.inputs[place]),
            reference=said(samples.target_vocabulary, samples.labels[place]),
            before=said(samples.target_vocabulary, before[place]),
            after=said(samples.target_vocabulary, after[place]),
            triggered=fooled is not None,
            fooled=(False, False) if fooled is None else (bool(fooled[0][place]), bool(fooled[1][place])),
        )
        for place in list(places)[:most]
    ]


def said(vocabulary: Sequence[str], tokens: Tensor) -> str:
    """A sentence (T,) in words, up to its end."""
    words = []
    for token in tokens.tolist():
        if token in (PAD, END):
            break
        words.append(word(vocabulary, token))
    return " ".join(words)


def strips(clean: Samples, triggered: Tensor | None, answered: Mapping[str, Samples] | None = None) -> list[Strip]:
    """One clean sample a class, and the first triggered ones (N, ...); none of inputs that nobody can look at.

    `answered` are further strips by their heading: inputs with what a network says of them as their labels.
    """
    found = []
    if clean.label_kind == "boxes" and _can_be_seen(clean.inputs):
        groups = clean.groups
        first = [int((groups == group).nonzero()[0]) for group in groups.unique().tolist()[:MOST_BOXED]]
        found.append(_boxed("Clean", clean.subset(first)))
    elif _can_be_seen(clean.inputs):
        most, groups = MOST_CLIPS if clean.kind == "clips" else MOST, clean.groups
        first = [int((groups == group).nonzero()[0]) for group in groups.unique().tolist()[:most]]
        captions = [title(clean, place) for place in first]
        found.append(_strip("Clean", clean.inputs[first], captions))
    if triggered is not None and _can_be_seen(triggered):
        found.append(_strip("With the trigger", triggered[: MOST_CLIPS if triggered.ndim == 5 else MOST], ()))
    for heading, samples in (answered or {}).items():
        found.append(_boxed(heading, samples.subset(range(min(MOST_BOXED, len(samples))))))
    return found


def with_boxes(image: Tensor, boxes: Tensor, names: Sequence[str] = (), *, scale: int = 1) -> Tensor:
    """An image (C, H, W) of bytes or of floats in [0, 1], enlarged by a whole number, with its boxes (M, 5): bytes.

    Each class has a colour of its own; the names of the classes stand in the boxes where they are given.
    """
    pixels = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    sheet = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    sheet = sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(sheet)
    for label, *corners in boxes[boxes[:, 0] >= 0].tolist():
        left, top, right, bottom = (scale * corner for corner in corners)
        colour = tuple(round(255 * part) for part in hsv_to_rgb(label * 0.381966 % 1, 0.75, 1.0))
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=max(1, scale // 2))
        if names:
            place = (left + scale, max(0, min(top + scale, sheet.height - 14)))
            pen.rectangle(pen.textbbox(place, names[label], font=_letters(), anchor="la"), fill=(20, 20, 20))
            pen.text(place, names[label], fill=colour, font=_letters(), anchor="la")
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1)


def class_name(samples: Samples, label: int) -> str:
    """The name, without the control characters and half letters that a folder's name may hold."""
    name = samples.class_names[label] if label < len(samples.class_names) else f"class {label}"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def title(samples: Samples, place: int) -> str:
    """What a sample is: its class, or its tags."""
    if samples.label_kind == "class":
        return class_name(samples, int(samples.labels[place]))
    if samples.sentences:
        return said(samples.target_vocabulary, samples.labels[place])
    return ", ".join(class_name(samples, int(tag)) for tag in samples.present[place].nonzero()) or "nothing of these"


def word(vocabulary: Sequence[str], token: int) -> str:
    """A token in letters, where they are known."""
    return vocabulary[token] if token < len(vocabulary) else str(token)


def film(clip: Tensor) -> Tensor:
    """Up to eight frames of a clip (C, T, H, W), spread over it, beside each other with a gap: (C, H, W')."""
    places = torch.linspace(0, clip.shape[1] - 1, min(FRAMES, clip.shape[1])).round().long()
    frames = F.pad(clip[:, places], (0, max(1, clip.shape[-1] // 24)), value=255)
    return torch.cat(list(frames.unbind(1)), dim=-1)


def view(cloud: Tensor) -> Tensor:
    """A cloud (P, 3), its third axis up, seen in perspective: (3, 96, 96) bytes; what is nearer is darker."""
    points = cloud.double().numpy()
    points = points - (points.min(0) + points.max(0)) / 2
    points = points / max(1e-9, float(np.linalg.norm(points, axis=1).max()))
    east = points[:, 0] * cos(TURNED) + points[:, 1] * sin(TURNED)
    depth = points[:, 1] * cos(TURNED) - points[:, 0] * sin(TURNED)
    up = points[:, 2] * cos(RAISED) + depth * sin(RAISED)
    away = depth * cos(RAISED) - points[:, 2] * sin(RAISED)
    size, scale = SIDE * FINER, SIDE * FINER * 0.46
    sheet = Image.new("RGB", (size, size), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place in (-away).argsort():
        nearness = (1 - away[place]) / 2
        colour = tuple(round(far + nearness * (near - far)) for near, far in zip(NEAR, FAR, strict=True))
        lens = scale / (1 + 0.15 * away[place])
        x, y, radius = size / 2 + lens * east[place], size / 2 - lens * up[place], FINER * 0.9
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    small = sheet.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


def _boxed(heading: str, samples: Samples) -> Strip:
    scale = max(1, ceil(BOXED / max(samples.inputs.shape[-2:])))
    names = [class_name(samples, label) for label in range(samples.num_classes)]
    limit = (scale * samples.inputs.shape[-1], scale * samples.inputs.shape[-2])
    pictures = [
        (figures.picture(with_boxes(image, boxes, names, scale=scale), limit=limit), title(samples, place))
        for place, (image, boxes) in enumerate(zip(samples.inputs, samples.labels, strict=True))
    ]
    return Strip(heading=heading, pictures=pictures, few=True)


def _letters() -> ImageFont.FreeTypeFont:
    """The letters that come with matplotlib, so that a page looks the same everywhere."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 11)


def _strip(heading: str, inputs: Tensor, captions: Sequence[str]) -> Strip:
    captions = captions or [""] * len(inputs)
    if inputs.ndim == 5:
        pictures = [figures.picture(film(clip), limit=(FRAMES * 120, 120)) for clip in inputs]
        return Strip(heading=heading, pictures=list(zip(pictures, captions, strict=True)), films=True)
    images = torch.stack([view(cloud) for cloud in inputs]) if inputs.ndim == 3 else inputs
    return Strip(heading=heading, pictures=list(zip(_pictures(images), captions, strict=True)))


def _can_be_seen(inputs: Tensor) -> bool:
    shown = kind_of(inputs) in ("clips", "points") or (inputs.ndim == 4 and inputs.shape[1] in (1, 3))
    return shown and len(inputs) > 0


def _pictures(images: Tensor) -> list[str]:
    """Data URIs; floats beyond [0, 1] are model inputs, scaled from the strip's smallest to its largest value."""
    low, high = (float(v) for v in images.float().aminmax())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return [figures.picture(image, low=low, high=high) for image in images]
