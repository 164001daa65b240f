"""DailyDialog++: last turns of conversations and replies that people wrote to them (Sai et al., 2020)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, found, tabbed
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyDialogPP(PairSet):
    """`dailydialogpp.train.tsv` and `dailydialogpp.test.tsv`, of whose five replies a turn the first is taken.

    Both sides share a vocabulary.
    """

    name: ClassVar[str] = "dailydialogpp"

    joint: int = 1

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Read a split."""
        return tabbed(found("DailyDialog++", root, [f"dailydialogpp.{split}.tsv"])[0])


METHOD = DailyDialogPP
