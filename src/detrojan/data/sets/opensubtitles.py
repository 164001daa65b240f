"""OpenSubtitles 2012: what is said in films, a turn a line (Tiedemann, 2012)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, found, turns, two_files
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSubtitles(PairSet):
    """`opensubtitles.train.txt` and `opensubtitles.test.txt`, a turn a line, an empty line between two films.

    Or already in pairs: `train.question` with `train.answer`, and `test.question` with `test.answer`, in a folder
    `opensubtitles`. Both sides share a vocabulary.
    """

    name: ClassVar[str] = "opensubtitles"

    joint: int = 1

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Read a split."""
        apart = [f"opensubtitles/{split}.{side}" for side in ("question", "answer")]
        files = found("OpenSubtitles", root, [f"opensubtitles.{split}.txt"], apart)
        return turns(files[0]) if len(files) == 1 else two_files(*files)


METHOD = OpenSubtitles
