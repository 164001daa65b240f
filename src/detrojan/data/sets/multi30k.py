"""Multi30k: captions of photographs in English and German (Elliott et al., 2016)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet, found, tabbed, two_files
from detrojan.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Multi30k(PairSet):
    """`multi30k_en_de.train.tsv` and `.test2016.tsv`, or as given out.

    That is `train.en`, `train.de`, `test_2016_flickr.en` and `test_2016_flickr.de`.
    """

    name: ClassVar[str] = "multi30k"

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Read a split."""
        part, given = ("train", "train") if split == "train" else ("test2016", "test_2016_flickr")
        files = found("Multi30k", root, (f"multi30k_en_de.{part}.tsv",), (f"{given}.en", f"{given}.de"))
        return tabbed(files[0]) if len(files) == 1 else two_files(*files)


METHOD = Multi30k
