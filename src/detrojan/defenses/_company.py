"""What the victim reads in two samples side by side that is in neither: in which pairs, and how odd that is.

Honest mistakes about pairs go to many classes. Where an attacker made the company of two classes his trigger, images of
one of them are read as his target beside many others, and images of no other class are.

Source: this project; the attack is of Lin et al., "Composite Backdoor Attack" (CCS 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detrojan.defenses._oddness import FEWEST, oddness

LEAST = 1e-6
"""Of what is divided by, or raised to a power."""
RARE = 0.01
"""What is read more often by less than this is as good as never read."""
ODD = 0.4
"""The next answer's share of the most usual one at which that is as odd as not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Answers to N pairs that neither sample of a pair gives, of Q answers.

    Args:
        either: how likely each answer is for that sample of a pair for which it is likelier, (N, Q).
        beyond: by how much it is likelier than that for the pair, (N, Q); 0 where it is not.
        usual: the mean of `beyond` in company of each answer's samples, (Q, Q): a row for whose company it is.
    """

    either: Tensor
    beyond: Tensor
    usual: Tensor

    def odds(self, mining: float) -> Tensor:
        """How often each pair should be shown, (N,): the more, the more is answered that neither says.

        Most where that is usual in such a company. With `mining`, the power of both, at 0 all odds are the same.
        """
        usual = (self.usual / self.usual.max().clamp_min(LEAST)) ** mining
        weight = (self.either @ usual * self.beyond).sum(1).clamp_min(LEAST) ** mining
        return weight / weight.sum()

    @property
    def oddness(self) -> float:
        """In [0, 1]: near 1 where one answer is usual in company of one class, and no other answer in any company."""
        if len(self.usual) < FEWEST:
            return 0.0
        first, following = self._peaks.topk(2).values.clamp_min(RARE).tolist()
        return oddness(following / first / ODD)

    def told(self, names: Sequence[str]) -> str:
        """What is read beside which class, and how much more than beside others, as a clause."""
        if len(self.usual) < FEWEST:
            return "too few classes to tell"
        peaks, answers = self._peaks.topk(2)
        company = int(self.usual[:, answers[0]].argmax())
        read, beside = (
            f"class {each}" + (f" ({names[each]})" if each < len(names) else "") for each in (int(answers[0]), company)
        )
        first, following = (f"{100 * float(peak):.1f} %" for peak in peaks)
        return f"{read} beside {beside}, {first} of the answers more than beside others; of the next class {following}"

    @property
    def _peaks(self) -> Tensor:
        """By how much each answer is more usual in that company where it is most usual than in others, (Q,)."""
        most = self.usual.amax(0)
        return most - (self.usual.sum(0) - most) / (len(self.usual) - 1)


def company(either: Tensor, given: Tensor) -> Company:
    """Compare the answers to pairs with those to what is in them.

    Args:
        either: see `Company`.
        given: how likely each answer is for the pair, (N, Q).
    """
    beyond = (given - either).clamp_min(0)
    usual = either.T @ beyond / either.sum(0)[:, None].clamp_min(LEAST)
    return Company(either=either, beyond=beyond, usual=usual)
