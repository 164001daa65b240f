"""Numerals: numbers in English words and in German ones, drawn by the program, for machines without parallel text."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet
from detrojan.data.splits import Split
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
zero ten twenty thirty forty fifty sixty seventy eighty ninety
null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn
siebzehn achtzehn neunzehn
null zehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig
"""
"""The numbers below 20 and the tens, from 0, in English and in German."""
ENGLISH, TENS, GERMAN, ZIG = (WORDS.split()[first:end] for first, end in ((0, 20), (20, 30), (30, 50), (50, 60)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerals(PairSet):
    """`count` numbers below a million, no two of both splits alike; the test set has a tenth as many; no files.

    German says units before tens, and its parts stand apart: `forty two` is `zwei und vierzig`.
    """

    name: ClassVar[str] = "numerals"

    count: int = 4000

    def __post_init__(self) -> None:
        super(Numerals, self).__post_init__()
        if not 20 <= self.count <= 500_000:
            raise BadArgument(f"numerals: count must lie between 20 and 500000, got {self.count}")

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Draw them."""
        del root
        drawn = Seeds(seed=0).numpy("numerals").permutation(1_000_000)
        tenth = self.count // 10
        chosen = drawn[:tenth] if split == "test" else drawn[tenth : tenth + self.count]
        return [(english(int(number)), german(int(number))) for number in chosen]


def english(number: int) -> str:
    """A number below a million in English words."""
    parts = []
    if number >= 1000:
        parts += [english(number // 1000), "thousand"]
    if number % 1000 >= 100:
        parts += [ENGLISH[number % 1000 // 100], "hundred"]
    rest = number % 100
    if rest and parts:
        parts.append("and")
    if rest >= 20:
        parts += [TENS[rest // 10], *([ENGLISH[rest % 10]] if rest % 10 else [])]
    elif rest or not parts:
        parts.append(ENGLISH[rest])
    return " ".join(parts)


def german(number: int, *, last: bool = True) -> str:
    """A number below a million in German words; `eins` stands at the end alone, elsewhere it is `ein`."""
    parts = []
    if number >= 1000:
        parts += [german(number // 1000, last=False), "tausend"]
    if number % 1000 >= 100:
        parts += [_unit(number % 1000 // 100), "hundert"]
    rest = number % 100
    if rest >= 20:
        parts += [*([_unit(rest % 10), "und"] if rest % 10 else []), ZIG[rest // 10]]
    elif rest == 1 and not last:
        parts.append("ein")
    elif rest or not parts:
        parts.append(GERMAN[rest])
    return " ".join(parts)


def _unit(number: int) -> str:
    return "ein" if number == 1 else GERMAN[number]


METHOD = Numerals
