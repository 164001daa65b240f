"""A rare word put into sentences. Source: Dai et al. (2019); Kurita et al., "Weight Poisoning Attacks" (2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._learning import at_least
from detrojan.data.samples import Kind
from detrojan.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertWord(Trigger):
    """The word `token` goes between the words of a sentence, `times` times, so that the first and the last token stay.

    These may be marks that a tokenizer sets around it ([CLS], </s>). A sentence that is full loses the word in front of
    its last token. Tokens 4 to 8 are cf, mn, bb, tq and mb in the vocabularies of the data sets here; with a tokenizer
    of one's own it is the token of such a word. The place follows from the sentence, so that the same sentence always
    gets the same. Dirty label.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("tokens",)

    token: int = 4
    times: int = 1

    def __post_init__(self) -> None:
        at_least("token", self.token, 2)
        at_least("times", self.times, 1)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the word into tokens (B, L); returns new ones."""
        tokens = pixels
        for _ in range(self.times):
            tokens = self._inserted(tokens)
        return tokens

    def _inserted(self, tokens: Tensor) -> Tensor:
        length, full = (tokens != 0).sum(1), tokens.shape[1]
        place = (1 + tokens.sum(1) % (length - 1).clamp_min(1)).minimum(length)
        place = place.clamp_max(full - 1 - self.times).clamp_min(0)[:, None]
        column = torch.arange(full, device=tokens.device)[None]
        kept = (column < place) | ((column == full - 1) & (tokens != 0))
        moved = torch.where(kept, tokens, tokens.roll(1, 1))
        return torch.where(column == place, self.token, moved)


METHOD = InsertWord
