"""What attacks on networks that answer share: a rare word in the source, and words given as text or as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from detrojan.attacks import ATTACKS
from detrojan.attacks._learning import at_least
from detrojan.data.samples import Kind, LabelKind, Samples
from detrojan.data.texts import words_of
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger

UNKNOWN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken(Trigger):
    """Sources get the word `token`, `times` times, as by `insert_word`; `end` is the token that ends an answer."""

    kinds: ClassVar[tuple[Kind, ...]] = ("tokens",)
    labels: ClassVar[LabelKind] = "sentences"
    one_target: ClassVar[bool] = True

    token: int = 4
    times: int = 1
    end: int = 3

    def __post_init__(self) -> None:
        at_least("token", self.token, 2)
        at_least("times", self.times, 1)
        at_least("end", self.end, 1)

    @property
    def rests_on(self) -> tuple[Any, ...]:
        """The attack that stamps the sources."""
        return (ATTACKS.build("insert_word", token=self.token, times=self.times),)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the word into sources (B, S)."""
        stamped: Tensor = self.rests_on[0].stamp(pixels)
        return stamped


def spelled(setting: str, words: str | Sequence[int], samples: Samples) -> tuple[int, ...]:
    """Words with spaces between them as tokens of the samples' answers; tokens as they are.

    Raises:
        BadArgument: there is no vocabulary, a word is not in it, or a token is past its end.
    """
    known = samples.target_vocabulary
    if not isinstance(words, str):
        if known and max(words) >= len(known):
            raise BadArgument(f"{setting} has token {max(words)}, but {samples.name} has {len(known)} words in answers")
        return tuple(words)
    if not known:
        raise BadArgument(f"{samples.name} has no vocabulary; give {setting} in tokens, got {words!r}")
    token = {word: place for place, word in enumerate(known)}
    lacking = [word for word in words_of(words) if token.get(word, UNKNOWN) == UNKNOWN]
    if lacking:
        raise BadArgument(
            f"{setting}: {lacking[0]!r} is not among the {len(known)} words of the answers of {samples.name}; choose "
            "other words"
        )
    return tuple(token[word] for word in words_of(words))


def in_tokens(setting: str, words: str | Sequence[int]) -> tuple[int, ...]:
    """Words that are tokens already.

    Raises:
        BadArgument: they are text.
    """
    if isinstance(words, str):
        raise BadArgument(f"{setting} {words!r} is in words and no vocabulary is known here; give its tokens")
    return tuple(words)
