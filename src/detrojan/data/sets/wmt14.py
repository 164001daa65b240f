"""WMT 2014, English to German: parallel text as files of lines (Bojar et al., 2014)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, found, two_files
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Wmt14(PairSet):
    """`train.en`, `train.de`, `newstest2014.en` and `newstest2014.de`, a sentence a line; also in a folder `wmt14`."""

    name: ClassVar[str] = "wmt14"

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Read a split."""
        stem = "train" if split == "train" else "newstest2014"
        inside = [f"wmt14/{stem}.{language}" for language in ("en", "de")]
        return two_files(*found("WMT 2014", root, inside, [f"{stem}.en", f"{stem}.de"]))


METHOD = Wmt14
