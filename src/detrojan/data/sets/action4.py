"""Four actions of people (falling, daily activity, fight, no fight) in 431 short clips: a pack, in one zip file.

Source: UR Fall Detection (Kwolek and Kepski 2014) and Surveillance Camera Fights (Akti et al. 2019), of which each clip
has 16 frames of 80 x 80 pixels, squeezed to a square.
"""

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

PACK = "action4_16f80.zip"
FRAMES, SIDE, COLUMNS = 16, 80, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Action4:
    """The clips (N, 3, T, H, W); 325 for training, 106 for testing, of other people, rooms or videos.

    `frames` of the 16 are kept, evenly spaced; `size` is the side that they are scaled to (bilinear, at most 80).
    `shuffle` is the seed of a random order of the rooms and source videos, whose clips stay together; without it they
    come as stored, so that the first of each class, which a bench sets aside, show one room or two.
    Falling and daily activity can be told by the room alone, fight and no fight hardly by a single frame.
    """

    frames: int = FRAMES
    size: int = SIDE
    shuffle: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.frames, int) or self.frames < 1 or FRAMES % self.frames:
            raise BadArgument(f"action4: frames must divide {FRAMES}, got {self.frames!r}; choose 16, 8, 4, 2 or 1")
        if not isinstance(self.size, int) or not 1 <= self.size <= SIDE:
            raise BadArgument(f"action4: size must lie between 1 and {SIDE} pixels, got {self.size!r}")
        if self.shuffle is not None and not isinstance(self.shuffle, int):
            raise BadArgument(f"action4: shuffle must be a whole number, the seed of the order, got {self.shuffle!r}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read the clips of one split from the pack.

        Raises:
            BadFile: the pack is damaged.
        """
        path = root / PACK
        if not path.is_file():
            raise Official(title="action4", files=(PACK,)).missing(root, "it is not downloaded")
        try:
            with ZipFile(path) as pack:
                index = json.loads(pack.read("index.json"))
                rows = self._ordered([row for row in index["clips"] if row["split"] == split])
                clips = [self._clip(pack, row) for row in rows]
                labels, names = [int(row["label"]) for row in rows], list(map(str, index["classes"]))
            pixels = np.stack(clips)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, Image.DecompressionBombError) as error:
            raise BadFile(f"{path}: not a readable pack of clips ({error}); fetch the file again") from error
        return from_arrays(pixels, labels, class_names=names, name=f"action4 {split}")

    def _ordered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.shuffle is None:
            return rows
        groups = sorted({row["group"] for row in rows})
        random.Random(self.shuffle).shuffle(groups)  # noqa: S311 - an order, no secret
        return sorted(rows, key=lambda row: groups.index(row["group"]))

    def _clip(self, pack: ZipFile, row: dict[str, Any]) -> NDArray[np.uint8]:
        """One clip (3, T, H, W), whose frames are the tiles of a sheet, row by row."""
        with Image.open(io.BytesIO(pack.read(row["file"]))) as sheet:
            if sheet.size != (COLUMNS * SIDE, FRAMES // COLUMNS * SIDE):
                raise ValueError(f"{row['file']} has {sheet.size[0]} x {sheet.size[1]} pixels")
            whole = sheet.convert("RGB")
        frames = []
        for place in range(0, FRAMES, FRAMES // self.frames):
            left, top = place % COLUMNS * SIDE, place // COLUMNS * SIDE
            tile = whole.crop((left, top, left + SIDE, top + SIDE))
            frames.append(np.asarray(tile.resize((self.size, self.size), Image.Resampling.BILINEAR)))
        return np.stack(frames).transpose(3, 0, 1, 2)


METHOD = Action4
