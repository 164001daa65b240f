"""HMDB51: 6,766 videos of 51 human actions (Kuehne 2011), by the official lists of its three folds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.data.videos import VideoDecoder, read_videos
from detrojan.errors import BadArgument, BadData, BadFile

VIDEOS, LISTS = "hmdb51", "testTrainMulti_7030_splits"
MARKS: dict[Split, str] = {"train": "1", "test": "2"}
UNUSED = "0"
ANEW = "unpack test_train_splits.rar there again"


@dataclass(frozen=True, slots=True, kw_only=True)
class HMDB51:
    """HMDB51 as its archives unpack: `hmdb51/CLASS/*.avi`, and beside it `testTrainMulti_7030_splits`.

    `fold` is 1, 2 or 3, each with 70 training and 30 test videos a class; `frames` and `size` are those of
    `VideoDecoder`. Classes are numbered in the sorted order of their names.
    """

    fold: int = 1
    frames: int = 16
    size: int = 112

    def __post_init__(self) -> None:
        if self.fold not in (1, 2, 3):
            raise BadArgument(f"hmdb51: fold must be 1, 2 or 3, got {self.fold!r}")
        VideoDecoder(frames=self.frames, size=self.size)

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Decode the videos of one split, on all cores, class by class."""
        if not (root / VIDEOS).is_dir():
            raise Official(title="HMDB51", files=(VIDEOS,)).missing(root, "it is not downloaded")
        ending = f"_test_split{self.fold}.txt"
        lists = {path.name.removesuffix(ending): path for path in sorted((root / LISTS).glob(f"*{ending}"))}
        if not lists:
            raise BadData(f"{root / LISTS}: holds no split list CLASS{ending}; {ANEW}")
        found = [
            (root / VIDEOS / name / video, label)
            for label, name in enumerate(lists)
            for video, mark in _rows(lists[name])
            if mark == MARKS[split]
        ]
        return from_arrays(
            read_videos([path for path, _ in found], VideoDecoder(frames=self.frames, size=self.size), name="hmdb51"),
            [label for _, label in found],
            class_names=lists,
            name=f"hmdb51 {split} (fold {self.fold})",
        )


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """The videos of a class with their marks."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: the split list cannot be read ({error}); {ANEW}") from error
    for number, line in enumerate(lines, 1):
        video, _, mark = line.strip().rpartition(" ")
        if line.strip() and (not video or mark not in (*MARKS.values(), UNUSED)):
            raise BadFile(f"{path}, line {number}: must be VIDEO and 0, 1 or 2, found {line!r}; {ANEW}")
        if line.strip():
            yield video.strip(), mark


METHOD = HMDB51
