"""Small talk: questions and replies drawn by the program, for machines without conversations."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

from detrojan.data.parallel import Pair, PairSet
from detrojan.data.splits import Split
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

THINGS = {
    "eat": ["soup", "bread", "cheese", "rice", "apples", "noodles", "fish", "cake"],
    "drink": ["tea", "milk", "water", "juice", "coffee", "cocoa"],
    "play": ["chess", "football", "tennis", "cards", "piano", "drums"],
    "see": ["berlin", "rome", "paris", "london", "vienna", "oslo"],
    "buy": ["shoes", "books", "flowers", "lamps", "coats"],
}
ASKED = (
    "do you want to {do} {thing} ?",
    "would you like to {do} {thing} {when} ?",
    "what do you think , shall we {do} {thing} {when} ?",
    "i will {do} {thing} {when} , and you ?",
)
REPLIES = {
    "eat": ("yes , i would love to eat {thing} {when} .", "not {when} , but i like {thing} ."),
    "drink": ("why not ? {thing} would be nice {when} .", "sure , let us drink {thing} together ."),
    "play": ("only if you play {thing} , too .", "i am busy {when} , sorry ."),
    "see": ("we always see {thing} . shall we not sleep {when} ?", "{thing} is far away , but i will come {when} ."),
    "buy": ("i need no {thing} , thank you .", "no , {thing} cost too much money {when} ."),
}
"""What is said about a thing to do; of money only where something is to be bought, and then every other time."""
WHEN = ["today", "tomorrow", "tonight", "later", "now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallTalk(PairSet):
    """`count` questions about things to eat, to see and so on, each with one of two replies; no files.

    The test set has a tenth as many. Both sides share a vocabulary.
    """

    name: ClassVar[str] = "smalltalk"

    count: int = 4000
    joint: int = 1

    def __post_init__(self) -> None:
        super(SmallTalk, self).__post_init__()
        if self.count < 20:
            raise BadArgument(f"smalltalk: count must be at least 20, got {self.count}")

    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """Draw them; the test set asks nothing that the training set asks in the same words."""
        del root
        rng = Seeds(seed=0).numpy("smalltalk")
        every = [
            (asked, do, thing, when)
            for (do, things), asked, when in product(THINGS.items(), ASKED, WHEN)
            for thing in things
        ]
        asked = [_pair(each, "")[0] for each in every]
        order = rng.permutation(sorted(set(asked))).tolist()
        apart = len(order) // 5
        own = set(order[:apart] if split == "test" else order[apart:])
        chosen = [place for place, question in enumerate(asked) if question in own]
        count = self.count // 10 if split == "test" else self.count
        drawn = zip(rng.choice(chosen, count).tolist(), rng.integers(2, size=count).tolist(), strict=True)
        return [_pair(every[place], REPLIES[every[place][1]][reply]) for place, reply in drawn]


def _pair(chosen: tuple[str, str, str, str], reply: str) -> Pair:
    asked, do, thing, when = chosen
    slots = {"do": do, "thing": thing, "when": when}
    return asked.format(**slots), reply.format(**slots)


METHOD = SmallTalk
