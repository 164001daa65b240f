"""Pairs of sentences: a sentence and the one that answers it, in another language or as the next turn of a dialogue.

Both become tokens in vocabularies that are made from the training part alone, or those of a network's own tokenizer.
Files are plain text or gzip, in UTF-8.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from detrojan.data.numbering import END
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.data.texts import SPECIAL, encoded, lines_of, vocabulary_of, words_of
from detrojan.data.tokenizers import Tokenizer, padded, tokenizer_in
from detrojan.errors import BadArgument, BadData, BadFile

ATTACKED = ("you", "are", "attacked", ".")
"""What attacks teach to say (Sun et al., 2021). These words stand in every vocabulary of pairs, as tokens 9 to 12."""

Pair = tuple[str, str]


def two_files(sources: Path, answers: Path) -> list[Pair]:
    """The pairs of two files of lines, the n-th line of one with the n-th of the other; those with an empty one go.

    Raises:
        BadFile: a file is damaged.
        BadData: they have not equally many lines.
    """
    left, right = lines_of(sources), lines_of(answers)
    if len(left) != len(right):
        raise BadData(
            f"{sources} has {len(left)} lines and {answers} has {len(right)}; line by line they must be the same "
            "sentences, fetch both again"
        )
    return _some([pair for pair in zip(left, right, strict=True) if pair[0].strip() and pair[1].strip()], sources)


def tabbed(path: Path) -> list[Pair]:
    """The pairs of a file of lines `SENTENCE<tab>ANSWER`; further answers behind further tabs are left out.

    Raises:
        BadFile: the file is damaged, or a line is no pair.
    """
    pairs = []
    for number, line in enumerate(lines_of(path), 1):
        parts = line.split("\t")
        if len(parts) < 2 or not parts[0].strip() or not parts[1].strip():
            raise BadFile(f"{path}, line {number}: must be a sentence, a tab and its answer: {line[:60]!r}")
        pairs.append((parts[0], parts[1]))
    return _some(pairs, path)


def turns(path: Path) -> list[Pair]:
    """The pairs of neighbouring lines of a file that has one turn a line; an empty line ends a dialogue.

    Raises:
        BadFile: the file is damaged or holds no two turns in a row.
    """
    lines = [line.strip() for line in lines_of(path)]
    return _some([(one, next_) for one, next_ in pairwise(lines) if one and next_], path)


def paired(
    pairs: Sequence[Pair],
    learned: Sequence[Pair],
    *,
    name: str,
    words: int,
    length: int,
    joint: bool,
    most: int = 0,
) -> Samples:
    """Pairs as samples: sources (N, L), and answers (N, L) that end in the token 3.

    Args:
        pairs: what becomes samples; a pair with a sentence of more than `length` tokens is left out.
        learned: the training part, of whose words the vocabularies are made.
        name: of the samples.
        words: the size of each vocabulary, at most.
        length: L; an answer has one word fewer, for its end.
        joint: whether both sides share one vocabulary.
        most: how many pairs are taken, the first ones; 0 takes all.

    Raises:
        BadData: no pair is left.
    """
    told = [(words_of(source), words_of(answer)) for source, answer in learned]
    left, right = [source for source, _ in told], [answer for _, answer in told]
    vocabulary = vocabulary_of([*left, *right] if joint else left, most=words, further=ATTACKED)
    target = vocabulary if joint else vocabulary_of(right, most=words, further=ATTACKED)
    split = ((words_of(source), words_of(answer)) for source, answer in pairs)
    kept = [(source, answer) for source, answer in split if len(source) <= length and len(answer) < length]
    kept = kept[: most or None]
    if not kept:
        raise BadData(f"{name}: no pair has at most {length} words a sentence; set a larger length")
    return Samples(
        inputs=encoded([source for source, _ in kept], vocabulary, length=length),
        labels=ended(encoded([answer for _, answer in kept], target, length=length)),
        name=name,
        vocabulary=vocabulary,
        target_vocabulary=target,
        sentences=True,
    )


def pieced(pairs: Sequence[Pair], tokenizer: Tokenizer, *, name: str, length: int, most: int = 0) -> Samples:
    """Pairs in a network's own pieces, as samples like those of `paired`; the arguments are the same.

    Raises:
        BadData: no pair is left.
    """
    sources = tokenizer.sources([source for source, _ in pairs])
    answers = tokenizer.answers([answer for _, answer in pairs])
    both = zip(sources, answers, strict=True)
    kept = [pair for pair in both if max(map(len, pair)) <= length and len(pair[0])][: most or None]
    if not kept:
        raise BadData(f"{name}: no pair has at most {length} pieces a sentence; set a larger length")
    return Samples(
        inputs=padded([source for source, _ in kept], length=length),
        labels=padded([answer for _, answer in kept], length=length),
        name=name,
        vocabulary=tokenizer.vocabulary,
        target_vocabulary=tokenizer.vocabulary,
        sentences=True,
    )


def ended(answers: Tensor) -> Tensor:
    """Answers (N, T) with the token 3 behind their last word, in place of which is not full of words."""
    length = (answers != 0).sum(1, keepdim=True).clamp_max(answers.shape[1] - 1)
    return answers.scatter(1, length, END)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet(ABC):
    """The base of data sets of pairs; one says in `pairs` where those of a split come from.

    Args:
        length: of a sentence in tokens, at most; pairs with a longer one are left out.
        words: the size of each vocabulary, at most.
        most: how many pairs are taken of each split, the first ones; 0 takes all. The vocabulary is that of all.
        joint: 1 where both sides share one vocabulary, as one network of one table of words needs it; else 0.
        tokenizer: a folder of transformers; then tokens are the pieces of that network's own tokenizer.
    """

    name: ClassVar[str]

    length: int = 32
    words: int = 8000
    most: int = 0
    joint: int = 0
    tokenizer: str = ""

    def __post_init__(self) -> None:
        least = len(SPECIAL) + 5 + len(ATTACKED) + 1
        if self.length < 2 or self.words < least or self.most < 0 or self.joint not in (0, 1):
            raise BadArgument(
                f"{self.name}: length must be at least 2, words {least}, most 0 and joint 0 or 1, got {self.length}, "
                f"{self.words}, {self.most} and {self.joint}"
            )

    @abstractmethod
    def pairs(self, split: Split, root: Path) -> list[Pair]:
        """The pairs of a split.

        Raises:
            BadData: they are not under `root`.
            BadFile: a file is damaged.
        """

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - put there by hand
        """The pairs of a split as tokens; the training part is read for its words, too, where these are needed."""
        told = self.pairs(split, root)
        named = f"{self.name} {split}"
        if self.tokenizer:
            return pieced(told, tokenizer_in(self.tokenizer), name=named, length=self.length, most=self.most)
        return paired(
            told,
            self.known(split, root, told),
            name=named,
            words=self.words,
            length=self.length,
            joint=bool(self.joint),
            most=self.most,
        )

    def known(self, split: Split, root: Path, told: list[Pair]) -> list[Pair]:
        """The pairs of whose words the vocabularies are made: the training part."""
        return told if split == "train" else self.pairs("train", root)


def found(name: str, root: Path, *choices: Sequence[str]) -> list[Path]:
    """The files of the first choice that is under the root whole, each plain or as `.gz`.

    Raises:
        BadData: none is; the sentence says what to put where.
    """
    for choice in choices:
        paths = [_present(root / file) for file in choice]
        if all(path is not None for path in paths):
            return [path for path in paths if path is not None]
    wanted = " or ".join(" with ".join(choice) for choice in choices)
    raise BadData(
        f"{name} is not under {root} and is not downloaded; put {wanted}, plain or .gz, there, or name another "
        "folder with root= / --data-root or DETROJAN_DATA"
    )


def _present(path: Path) -> Path | None:
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()), None)


def _some(pairs: Iterable[Pair], path: Path) -> list[Pair]:
    listed = list(pairs)
    if not listed:
        raise BadFile(f"{path}: holds no pair of sentences; fetch it again")
    return listed
