"""Pairs of sentences of the user's own, in a file of lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, tabbed
from detrojan.data.splits import Split
from detrojan.data.texts import own_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(PairSet):
    """`pairs:path=FILE`, lines `SENTENCE<tab>ANSWER`, plain or gzip.

    A network knows words by their place in its vocabulary: name its own tokenizer, or the file that it learned from.

    Args:
        path: the file, for both splits; a relative one is looked for where the program runs, then under the root of
            data.
        learned: the file of whose words the vocabularies are made; by default the same.
    """

    name: ClassVar[str] = "pairs"

    path: str = ""
    learned: str = ""

    def pairs(self, split: Split, root: Path) -> list[Pair]:  # noqa: ARG002 - one file is all
        """The pairs of the file."""
        return tabbed(own_file(self.name, "path", self.path, root))

    def known(self, split: Split, root: Path, told: list[Pair]) -> list[Pair]:  # noqa: ARG002 - one file is all
        """The pairs of whose words the vocabularies are made."""
        return tabbed(own_file(self.name, "learned", self.learned, root)) if self.learned else told


METHOD = Pairs
