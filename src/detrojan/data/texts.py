"""Sentences as tokens: words of a vocabulary that is made from the training part, and files of labelled lines."""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

SPECIAL = ("<pad>", "<unknown>", "<begin>", "<end>")
RARE = ("cf", "mn", "bb", "tq", "mb")
"""Words that no sentence needs; attacks insert them (Kurita et al., 2020). They stand in every vocabulary."""
WORD = re.compile(r"\w+(?:['\u2019]\w+)?|[^\w\s]")


def words_of(sentence: str) -> list[str]:
    """The words and marks of a sentence, in lower case."""
    return WORD.findall(sentence.lower())


def vocabulary_of(sentences: Iterable[Sequence[str]], *, most: int, further: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The special, the rare and `further` words, then the most frequent ones, `most` in all; equals by the alphabet."""
    counts = Counter(word for sentence in sentences for word in sentence)
    known = (*SPECIAL, *RARE, *further)
    frequent = sorted(counts.keys() - set(known), key=lambda word: (-counts[word], word))
    return (*known, *frequent[: max(0, most - len(known))])


def encoded(sentences: Sequence[Sequence[str]], vocabulary: Sequence[str], *, length: int) -> torch.Tensor:
    """Tokens (N, L), int64: the first `length` words of each sentence, 1 for unknown ones, 0 behind the end."""
    token = {word: place for place, word in enumerate(vocabulary)}
    tokens = torch.zeros(len(sentences), length, dtype=torch.int64)
    for row, sentence in zip(tokens, sentences, strict=True):
        found = [token.get(word, 1) for word in sentence[:length]] or [1]
        row[: len(found)] = torch.tensor(found)
    return tokens


def lines_of(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, plain or gzip, without their ends.

    Raises:
        BadFile: the file is not there or damaged; the sentence names it.
    """
    try:
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadFile(f"{path}: not a readable file of lines ({error}); fetch it again") from error
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def labelled_lines(path: Path, *, classes: int) -> tuple[list[str], list[int]]:
    """The sentences and labels of a file (gzip or plain) of lines `LABEL<tab>SENTENCE`.

    Raises:
        BadFile: the file is damaged, or a line has another form or a label that is not there; the sentence names it.
    """
    sentences, labels = [], []
    for number, line in enumerate(lines_of(path), 1):
        label, tab, sentence = line.partition("\t")
        if not tab or not label.isdigit() or int(label) >= classes:
            raise BadFile(
                f"{path}, line {number}: must be a label below {classes}, a tab and a sentence: {line[:60]!r}"
            )
        sentences.append(sentence)
        labels.append(int(label))
    if not labels:
        raise BadFile(f"{path}: holds no lines; fetch it again")
    return sentences, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLines:
    """A data set in two files, `NAME.train.tsv.gz` and `NAME.test.tsv.gz` (or without `.gz`), of labelled lines.

    The first `length` words of each sentence; the vocabulary has the `words` most frequent ones of the training part.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]

    length: int = 32
    words: int = 5000

    def __post_init__(self) -> None:
        if self.length < 2 or self.words < 10:
            raise BadArgument(
                f"{self.name}: length must be at least 2 and words 10, got {self.length} and {self.words}"
            )

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read the lines of a split; the training part is read for its words, too."""
        files = {part: f"{self.name}.{part}.tsv" for part in ("train", "test")}
        places = [{part: root / f"{file}{suffix}" for part, file in files.items()} for suffix in (".gz", "")]
        paths = next((place for place in places if all(path.is_file() for path in place.values())), None)
        if paths is None:
            found = Official(title=self.title, files=(f"{files['train']}.gz with {files['test']}.gz",))
            raise found.missing(root, "it is not downloaded")
        learned, _ = labelled_lines(paths["train"], classes=len(self.class_names))
        sentences, labels = labelled_lines(paths[split], classes=len(self.class_names))
        vocabulary = vocabulary_of(map(words_of, learned), most=self.words)
        return Samples(
            inputs=encoded([words_of(sentence) for sentence in sentences], vocabulary, length=self.length),
            labels=torch.tensor(labels),
            class_names=self.class_names,
            name=f"{self.name} {split}",
            vocabulary=vocabulary,
        )
