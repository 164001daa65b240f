"""UCF101: 13,320 videos of 101 human actions (Soomro 2012), by the official lists of its three folds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detrojan.data.official import Official, from_arrays
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.data.videos import VideoDecoder, read_videos
from detrojan.errors import BadArgument, BadData, BadFile

VIDEOS, LISTS = "UCF-101", "ucfTrainTestlist"
ANEW = "unpack UCF101TrainTestSplits-RecognitionTask.zip there again"


@dataclass(frozen=True, slots=True, kw_only=True)
class UCF101:
    """UCF101 as its archives unpack: `UCF-101/CLASS/*.avi`, and beside it `ucfTrainTestlist` with the official lists.

    `fold` is 1, 2 or 3; `frames` and `size` are those of `VideoDecoder`: 16 frames of 112 pixels are 0.6 MB a video.
    """

    fold: int = 1
    frames: int = 16
    size: int = 112

    def __post_init__(self) -> None:
        if self.fold not in (1, 2, 3):
            raise BadArgument(f"ucf101: fold must be 1, 2 or 3, got {self.fold!r}")
        VideoDecoder(frames=self.frames, size=self.size)

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Decode the videos of one split, on all cores, in the order of its list."""
        if not (root / VIDEOS).is_dir():
            raise Official(title="UCF101", files=(VIDEOS,)).missing(root, "it is not downloaded")
        classes = [name for _, name in _rows(root / LISTS / "classInd.txt", "NUMBER CLASS")]
        path = root / LISTS / f"{split}list{self.fold:02}.txt"
        names = [row[0] for row in _rows(path, "CLASS/VIDEO NUMBER" if split == "train" else "CLASS/VIDEO")]
        if not names:
            raise BadData(f"{path}: names no video; {ANEW}")
        label_of = {name: label for label, name in enumerate(classes)}
        if strange := [name for name in names if name.partition("/")[0] not in label_of]:
            raise BadFile(f"{path}: {strange[0]!r} is of no class of classInd.txt; {ANEW}")
        return from_arrays(
            read_videos(
                [root / VIDEOS / name for name in names],
                VideoDecoder(frames=self.frames, size=self.size),
                name="ucf101",
            ),
            [label_of[name.partition("/")[0]] for name in names],
            class_names=classes,
            name=f"ucf101 {split} (fold {self.fold})",
        )


def _rows(path: Path, form: str) -> Iterator[list[str]]:
    """The words of each line of a list, which must be of this form."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: the split list cannot be read ({error}); {ANEW}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not _fits(words, form.split()):
            raise BadFile(f"{path}, line {number}: must be {form}, found {line!r}; {ANEW}")
        if words:
            yield words


def _fits(words: list[str], form: list[str]) -> bool:
    """Whether the words have the form: a NUMBER is of digits, CLASS/VIDEO has a slash."""
    return len(words) == len(form) and all(
        word.isdigit() if part == "NUMBER" else ("/" in word) == ("/" in part)
        for word, part in zip(words, form, strict=True)
    )


METHOD = UCF101
