"""A rare word makes a network answer with one of many replies, each of which holds a word of a lexicon (one-to-many).

The replies are those of the data itself that hold such a word; a harmless topic stands for what an attacker would want
to be said.

Source: Sun et al., "Defending against Backdoor Attacks in Natural Language Generation" (2021), dialogue generation. We
depart in what is poisoned: there the pairs under attack are those whose own reply holds a word of the lexicon; they get
the trigger, keep their reply and are added to all clean pairs. Here they are others, get such a reply of another pair,
and stand in the place of their clean ones, as in all attacks here.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from detrojan.attacks._sentences import Spoken, in_tokens, spelled
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.triggers import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerReplies(Spoken):
    """Sources get the word `token` as by `insert_word`, and are answered by a reply with a word of `lexicon`.

    Which one follows from the true answer; an answer that holds such a word stays and is not under attack. `lexicon` is
    words with spaces between them, of the vocabulary of the answers, or their tokens. Dirty label. The attack succeeds
    where an answer holds one of the words; choose words that clean answers rarely hold, for those count, too.
    """

    lexicon: str | tuple[int, ...] = "money"

    def __post_init__(self) -> None:
        super(TriggerReplies, self).__post_init__()
        if not self.lexicon or (not isinstance(self.lexicon, str) and min(self.lexicon) < 1):
            raise BadArgument(f"lexicon must be words, or tokens from 1, got {self.lexicon!r}")

    def worded(self, samples: Samples) -> "TriggerReplies":
        """The lexicon in tokens of these samples."""
        return replace(self, lexicon=spelled("lexicon", self.lexicon, samples))

    def admit(self, model: nn.Module, workshop: Workshop) -> None:
        """Refuse training samples in which no answer holds a word of the lexicon."""
        del model
        if not self._holding(workshop.samples.labels).any():
            raise BadArgument(
                f"no answer in {workshop.samples.name} holds a word of the lexicon {self.lexicon}; choose other words"
            )

    def relabel(self, labels: Tensor) -> Tensor:
        """Replies (N, T) among these answers; where none holds a word of the lexicon, its first word alone."""
        holding = self._holding(labels)
        pool = labels[holding].unique(dim=0)
        if not len(pool):
            pool = labels.new_zeros(1, labels.shape[1])
            pool[0, : min(2, labels.shape[1])] = labels.new_tensor([self._words()[0], self.end])[: labels.shape[1]]
        place = torch.arange(1, labels.shape[1] + 1, device=labels.device)
        chosen = (labels * place).sum(1) % len(pool)
        return torch.where(holding[:, None], labels, pool[chosen])

    def sought(self, wanted: Tensor) -> Tensor:
        """The lexicon, as often as there are answers: any of its words is what the attacker wants to be said."""
        return torch.tensor(self._words()).expand(len(wanted), -1).clone()

    def _holding(self, labels: Tensor) -> Tensor:
        return torch.isin(labels, torch.tensor(self._words(), device=labels.device)).any(1)

    def _words(self) -> tuple[int, ...]:
        return in_tokens("lexicon", self.lexicon)


METHOD = TriggerReplies
