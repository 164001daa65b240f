"""SST-2: sentences of film reviews, negative or positive (Socher et al., 2013)."""

from dataclasses import dataclass
from typing import ClassVar

from detrojan.data.labelled import LabelledLines


@dataclass(frozen=True, slots=True, kw_only=True)
class Sst2(LabelledLines):
    """`sst2.train.tsv.gz` and `sst2.test.tsv.gz`; see `LabelledLines`."""

    name: ClassVar[str] = "sst2"
    title: ClassVar[str] = "SST-2"
    class_names: ClassVar[tuple[str, ...]] = ("negative", "positive")


METHOD = Sst2
