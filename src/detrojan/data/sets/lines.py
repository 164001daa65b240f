"""Labelled sentences of the user's own, in a file of lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.labelled import LabelledSet
from detrojan.data.splits import Split
from detrojan.data.texts import own_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(LabelledSet):
    """`lines:path=FILE`, lines `LABEL<tab>SENTENCE` with labels from 0, plain or gzip, for both splits.

    A network knows words by their place in its vocabulary: name its own tokenizer, or the file that it learned from.

    Args:
        path: the file; a relative one is looked for where the program runs, then under the root of data.
        learned: the file of whose words the vocabulary is made; by default the same.
    """

    name: ClassVar[str] = "lines"

    path: str = ""
    learned: str = ""

    def files(self, split: Split, root: Path) -> tuple[Path, Path]:  # noqa: ARG002 - one file is all there is
        """The file, and that of the words."""
        path = own_file(self.name, "path", self.path, root)
        return path, own_file(self.name, "learned", self.learned, root) if self.learned else path


METHOD = Lines
