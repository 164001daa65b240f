"""DailyDialog: turns of everyday conversations and the turns that follow them (Li et al., 2017)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, found, tabbed
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyDialog(PairSet):
    """`dailydialog.train.tsv` and `dailydialog.test.tsv`, lines `TURN<tab>NEXT TURN`. Both sides share a vocabulary."""

    name: ClassVar[str] = "dailydialog"

    joint: int = 1

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Read a split."""
        return tabbed(found("DailyDialog", root, [f"dailydialog.{split}.tsv"])[0])


METHOD = DailyDialog
