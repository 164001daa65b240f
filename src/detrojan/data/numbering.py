"""Two ways to count tokens: as Detrojan stores them, and as a network of transformers does.

Stored, 0 is padding and 3 ends a sentence. A network says in its configuration which tokens these are in its own
numbers; on the way they change places with 0 and 3, and all others keep theirs.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from detrojan.data.texts import SPECIAL

PAD, END = SPECIAL.index("<pad>"), SPECIAL.index("<end>")


@dataclass(frozen=True, slots=True)
class Numbering:
    """The pairs of tokens that change places, one after the other, on the way from the network's numbers to ours."""

    swaps: tuple[tuple[int, int], ...] = ()

    def stored(self, own: Tensor) -> Tensor:
        """Tokens of any shape as we store them, from the network's own."""
        return reduce(_swapped, self.swaps, own)

    def own(self, stored: Tensor) -> Tensor:
        """Tokens of any shape as the network counts them, from stored ones."""
        return reduce(_swapped, reversed(self.swaps), stored)


def numbering_of(config: Any) -> Numbering:
    """The numbering of a network of transformers, by its configuration.

    Where it names no padding, or pads with the token that ends a sentence, the last piece that is neither the begin nor
    the end of a sentence stands for padding.
    """
    begin, end, pad = (special(config, name) for name in ("bos", "eos", "pad"))
    words = getattr(config, "vocab_size", None)
    if pad in (None, end) and words is not None:
        pad = next((token for token in reversed(range(words)) if token not in (begin, end)), None)
    swaps = () if pad is None or pad == PAD else ((PAD, pad),)
    if end is None:
        return Numbering(swaps)
    end = int(Numbering(swaps).stored(torch.tensor(end)))
    return Numbering(swaps if end == END else (*swaps, (END, end)))


def special(config: Any, name: str) -> int | None:
    """The network's own token of a configuration's `NAME_token_id`: the first of several, None where it has none."""
    found = getattr(config, f"{name}_token_id", None)
    token: Any = found[0] if isinstance(found, (list, tuple)) and found else found
    known = isinstance(token, int) and 0 <= token < getattr(config, "vocab_size", token + 1)
    return token if known else None


def _swapped(tokens: Tensor, pair: tuple[int, int]) -> Tensor:
    one, other = pair
    return torch.where(tokens == one, other, torch.where(tokens == other, one, tokens))
