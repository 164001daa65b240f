"""A contact sheet: a few images without and with a trigger, and what it changed, as one picture."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detrojan.data.samples import Samples

COLUMNS = 8
"""Images beside each other; more of them begin a new band of three rows."""
CELL = 150
"""Images are enlarged by a whole number, to about this side in pixels."""
FACTORS = (100, 50, 20, 10, 5, 2, 1)
"""Amplifications of the difference, of which the largest that clips few values is taken."""
CLIPPED = 0.01
GREY = 128

_PAPER, _FRAME, _INK, _MUTED, _ACCENT = "#f7f7f5", "#c9c9c4", "#1c1c1a", "#6f6f69", "#b3261e"
_MARGIN, _GAP, _LABELS, _LINE = 24, 8, 92, 19
_TITLE, _TEXT = 17, 13


def contact_sheet(
    clean: Samples,
    triggered: Tensor,
    wanted: Tensor,
    *,
    title: str,
    caption: str = "",
    shown: tuple[Tensor, Tensor] | None = None,
) -> Image.Image:
    """Draw images (N, C, H, W, uint8) in three rows: clean, triggered, and the amplified difference, grey where none.

    Args:
        clean: the images with their labels; under each stands its class, or what is in it.
        triggered: the same images with the trigger, uint8.
        wanted: the labels (N, ...) that the attacker wants, which stand below the classes.
        title: the first line.
        caption: the second line, smaller.
        shown: pictures of the clean and the triggered images that are drawn in their place, such as with boxes.
    """
    factor = amplification(clean.inputs, triggered)
    before, after = shown or (clean.inputs, triggered)
    rows = (
        _Row(images=before, label="clean"),
        _Row(images=after, label="triggered"),
        _Row(
            images=_difference(clean.inputs, triggered, factor),
            label="difference",
            note=f"\N{MULTIPLICATION SIGN} {factor}",
        ),
    )
    height, width = clean.inputs.shape[-2:]
    scale = max(1, round(CELL / max(height, width)))
    grid = _Grid(width=width * scale, height=height * scale, count=len(clean), top=_MARGIN + 3 * _LINE)
    sheet = Image.new("RGB", grid.size(title, caption), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, _INK, _font(_TITLE, bold=True), anchor="la")
    pen.text((_MARGIN, _MARGIN + 1.5 * _LINE), caption, _MUTED, _font(_TEXT), anchor="la")
    for index in range(len(clean)):
        for number, row in enumerate(rows):
            left, top = grid.corner(index, number)
            if index % COLUMNS == 0:
                _label(pen, row, top + grid.height / 2)
            pen.rectangle((left - 1, top - 1, left + grid.width, top + grid.height), outline=_FRAME)
            sheet.paste(_picture(row.images[index], (grid.width, grid.height)), (left, top))
        below = (left + grid.width / 2, top + grid.height + 0.25 * _LINE)
        names = (_named(clean, clean.labels[index]), f"→ {_named(clean, wanted[index])}")
        for line, (name, colour) in enumerate(zip(names, (_INK, _ACCENT), strict=True)):
            place = (below[0], below[1] + line * _LINE)
            pen.text(place, _fitted(name, grid.width), colour, _font(_TEXT), anchor="ma")
    return sheet


def amplification(clean: Tensor, triggered: Tensor) -> int:
    """The factor that makes the difference well visible, and clips at most a hundredth of the values that changed."""
    changes = np.abs(triggered.numpy().astype(np.int16) - clean.numpy().astype(np.int16))
    high = float(np.quantile(changes[changes > 0], 1 - CLIPPED)) if changes.any() else 1.0
    return next((factor for factor in FACTORS if factor * high < GREY), 1)


def class_name(samples: Samples, label: int) -> str:
    """The class's name; of several that a comma parts, the first."""
    return samples.class_names[label].split(",")[0] if label < len(samples.class_names) else f"class {label}"


def _named(samples: Samples, label: Tensor) -> str:
    """The class, or the classes of the boxes (M, 5)."""
    if label.ndim == 0:
        return class_name(samples, int(label))
    return ", ".join(class_name(samples, int(each)) for each in label[label[:, 0] >= 0][:, 0]) or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    images: Tensor
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Where images of `width` and `height` pixels on the sheet go, below `top`."""

    width: int
    height: int
    count: int
    top: int

    @property
    def band(self) -> int:
        """The height of three rows and the names below them."""
        return 3 * (self.height + _GAP) + 3 * _LINE

    def corner(self, index: int, row: int) -> tuple[int, int]:
        """The upper left corner of an image."""
        band, column = divmod(index, COLUMNS)
        return (
            _MARGIN + _LABELS + column * (self.width + _GAP),
            self.top + band * self.band + row * (self.height + _GAP),
        )

    def size(self, title: str, caption: str) -> tuple[int, int]:
        """Of the whole sheet, which is wide enough for the two lines above the images."""
        images = _LABELS + min(self.count, COLUMNS) * (self.width + _GAP) - _GAP
        text = max(_font(_TITLE, bold=True).getlength(title), _font(_TEXT).getlength(caption))
        width = max(images, ceil(text)) + 2 * _MARGIN
        return width, self.top + ceil(self.count / COLUMNS) * self.band + _MARGIN // 2


def _difference(clean: Tensor, triggered: Tensor, factor: int) -> Tensor:
    shown = GREY + factor * (triggered.to(torch.int32) - clean.to(torch.int32))
    return shown.clamp(0, 255).to(torch.uint8)


def _picture(image: Tensor, size: tuple[int, int]) -> Image.Image:
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _label(pen: ImageDraw.ImageDraw, row: _Row, middle: float) -> None:
    for line, text in enumerate((row.label, row.note)):
        place = (_MARGIN, middle + line * _LINE - (_LINE / 2 if row.note else 0))
        pen.text(place, text, _MUTED if line else _INK, _font(_TEXT), anchor="lm")


def _fitted(name: str, width: int) -> str:
    """The name, cut where it is wider than its image."""
    font = _font(_TEXT)
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"{name}…") > width:
        name = name[:-1]
    return f"{name.rstrip()}…"


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The letters that come with matplotlib, so that a sheet looks the same everywhere."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)
