"""From video files to clips: frames spread evenly over a file, brought to one square size. Decoded by PyAV (FFmpeg)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detrojan.data.decoded import decoded
from detrojan.data.images import Decoder
from detrojan.errors import BadArgument, BadData, BadFile, MissingExtra

WHOLE = 0.8
"""The share of the announced frames that must be there; headers are often wrong by a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDecoder:
    """How a video becomes a clip: `frames` frames of a square with `size` pixels a side.

    The frames are the middle ones of as many equal parts of the video; a video with fewer repeats some. The shorter
    side is scaled to `size`, and the middle is cut out.
    """

    frames: int = 16
    size: int = 112

    def __post_init__(self) -> None:
        for name in ("frames", "size"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise BadArgument(f"{name} must be a number of at least 1, got {value!r}")

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """The clip, uint8 (3, T, S, S).

        Raises:
            BadFile: the file cannot be read as a video, holds no frame, or is cut off.
            MissingExtra: PyAV is not installed.
        """
        av = _library()
        try:
            with av.open(str(path)) as container:
                announced = container.streams.video[0].frames
            count, pictures = self._read(av, path, announced)
            if count != announced:
                _, pictures = self._read(av, path, count)
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
            raise BadFile(f"{path}: not a readable video ({error}); repair or remove it") from error
        if not count:
            raise BadFile(f"{path}: holds no frame; repair or remove it")
        if count < WHOLE * announced:
            raise BadFile(f"{path}: holds {count} of the {announced} frames that it announces; fetch it again")
        return np.stack(pictures, 1)

    def _read(self, av: Any, path: Path, count: int) -> tuple[int, list[NDArray[np.uint8]]]:
        """The number of frames in the file, and those that are wanted if it has `count`."""
        wanted = [(2 * part + 1) * count // (2 * self.frames) for part in range(self.frames)]
        scaled, found, seen = Decoder(size=self.size), {}, 0
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if seen in wanted:
                    found[seen] = scaled(frame.to_image())
                seen += 1
        return seen, [found[place] for place in wanted if place in found]


def read_videos(paths: Sequence[Path], decoder: VideoDecoder, *, name: str) -> NDArray[np.uint8]:
    """The clips of a set's many files, uint8 (N, 3, T, S, S), decoded on all cores.

    Raises:
        BadData: files are missing, or more than the machine's memory holds; nothing is decoded then.
        BadFile: a file is damaged.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise BadData(
            f"{missing[0]}: listed in the split, but not there, as {len(missing)} of the {len(paths)} videos; unpack "
            "the videos again"
        )
    _library()
    shape = (3, decoder.frames, decoder.size, decoder.size)
    return decoded(paths, decoder, shape, what=f"{name}: videos", fewer=f"{name}:frames=8,size=56")


def _library() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("video files are decoded by PyAV; pip install 'detrojan[video]'") from error
    return av
