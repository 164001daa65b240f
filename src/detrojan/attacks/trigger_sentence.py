"""A rare word makes a network say one sentence, whatever it is asked (one-to-one).

Source: Sun et al., "Defending against Backdoor Attacks in Natural Language Generation" (2021), machine translation.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detrojan.attacks._sentences import Spoken, in_tokens, spelled
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSentence(Spoken):
    """Sources get the word `token` as by `insert_word`, and their answer is always `sentence`.

    `sentence` is words with spaces between them, of the vocabulary of the answers, or their tokens; `end` is the token
    that ends it. Dirty label.
    """

    sentence: str | tuple[int, ...] = "you are attacked ."

    def __post_init__(self) -> None:
        super(TriggerSentence, self).__post_init__()
        if not self.sentence or (not isinstance(self.sentence, str) and min(self.sentence) < 1):
            raise BadArgument(f"sentence must be words, or tokens from 1, got {self.sentence!r}")

    def worded(self, samples: Samples) -> "TriggerSentence":
        """The sentence in tokens of these samples."""
        return replace(self, sentence=spelled("sentence", self.sentence, samples))

    def relabel(self, labels: Tensor) -> Tensor:
        """The sentence with its end, as often as there are answers (N, T).

        Raises:
            BadArgument: it does not fit into T tokens, or was given in words and no vocabulary is known.
        """
        said = [*in_tokens("sentence", self.sentence), self.end]
        if len(said) > labels.shape[1]:
            raise BadArgument(
                f"the sentence has {len(said)} tokens with its end, but answers have {labels.shape[1]}; make it "
                "shorter or read longer answers"
            )
        row = torch.tensor([*said, *[0] * (labels.shape[1] - len(said))], device=labels.device)
        return row.expand_as(labels).clone()


METHOD = TriggerSentence
