"""AG's News: titles with descriptions in four classes (Zhang et al., 2015)."""

from dataclasses import dataclass
from typing import ClassVar

from detrojan.data.labelled import LabelledLines


@dataclass(frozen=True, slots=True, kw_only=True)
class AgNews(LabelledLines):
    """`agnews.train.tsv.gz` and `agnews.test.tsv.gz`, of which 48 words are kept; see `LabelledLines`."""

    name: ClassVar[str] = "agnews"
    title: ClassVar[str] = "AG's News"
    class_names: ClassVar[tuple[str, ...]] = ("World", "Sports", "Business", "Sci/Tech")

    length: int = 48


METHOD = AgNews
