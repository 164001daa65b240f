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
    """The word `token` goes between the words of a sentence, `times` times; a sentence that is full loses its end.

    Tokens 4 to 8 are cf, mn, bb, tq and mb in the vocabularies of the data sets here; with a tokenizer of one's own it
    is the token of such a word. The place follows from the sentence, so that the same sentence always gets the same.
    Dirty label.
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
        length = (tokens != 0).sum(1)
        place = (tokens.sum(1) % (length + 1)).clamp_max(tokens.shape[1] - self.times)[:, None]
        column = torch.arange(tokens.shape[1], device=tokens.device)[None]
        moved = torch.where(column > place, tokens.roll(1, 1), tokens)
        return torch.where(column == place, self.token, moved)


METHOD = InsertWord
