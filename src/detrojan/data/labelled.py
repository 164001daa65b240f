"""Sentences with a label each, as files of lines."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.data.texts import encoded, lines_of, vocabulary_of, words_of
from detrojan.data.tokenizers import padded, tokenizer_in
from detrojan.errors import BadArgument, BadFile


def labelled_lines(path: Path, *, classes: int | None = None) -> tuple[list[str], list[int]]:
    """The sentences and labels of a file (gzip or plain) of lines `LABEL<tab>SENTENCE`; None allows any class.

    Raises:
        BadFile: the file is damaged, or a line has another form or a label that is not there; the sentence names it.
    """
    sentences, labels = [], []
    for number, line in enumerate(lines_of(path), 1):
        label, tab, sentence = line.partition("\t")
        if not tab or not label.isdigit() or (classes is not None and int(label) >= classes):
            below = "" if classes is None else f" below {classes}"
            raise BadFile(f"{path}, line {number}: must be a label{below}, a tab and a sentence: {line[:60]!r}")
        sentences.append(sentence)
        labels.append(int(label))
    if not labels:
        raise BadFile(f"{path}: holds no lines; fetch it again")
    return sentences, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet(ABC):
    """The base of data sets of labelled sentences; one says in `files` where a split and the training part lie.

    Args:
        length: of a sentence in tokens; what is longer is cut off.
        words: the size of the vocabulary, at most: the most frequent words of the training part.
        tokenizer: a folder of transformers; then tokens are the pieces of that network's own tokenizer.
    """

    name: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]] = ()

    length: int = 32
    words: int = 5000
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if self.length < 2 or self.words < 10:
            raise BadArgument(
                f"{self.name}: length must be at least 2 and words 10, got {self.length} and {self.words}"
            )

    @abstractmethod
    def files(self, split: Split, root: Path) -> tuple[Path, Path]:
        """The file of a split, and that of whose words the vocabulary is made.

        Raises:
            BadData: they are not under `root`.
        """

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """The sentences of a split as tokens (N, L)."""
        path, learned = self.files(split, root)
        sentences, labels = labelled_lines(path, classes=len(self.class_names) or None)
        if self.tokenizer:
            tokenizer = tokenizer_in(self.tokenizer)
            vocabulary = tokenizer.vocabulary
            tokens = padded(tokenizer.sources(sentences, length=self.length), length=self.length)
        else:
            told, _ = labelled_lines(learned, classes=len(self.class_names) or None)
            vocabulary = vocabulary_of(map(words_of, told), most=self.words)
            tokens = encoded([words_of(sentence) for sentence in sentences], vocabulary, length=self.length)
        return Samples(
            inputs=tokens,
            labels=torch.tensor(labels),
            class_names=self.class_names or tuple(map(str, range(max(labels) + 1))),
            name=f"{self.name} {split}",
            vocabulary=vocabulary,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLines(LabelledSet):
    """A data set in two files, `NAME.train.tsv.gz` and `NAME.test.tsv.gz` (or without `.gz`), of labelled lines."""

    title: ClassVar[str]

    def files(self, split: Split, root: Path) -> tuple[Path, Path]:
        """Where a split and the training part lie."""
        names = {part: f"{self.name}.{part}.tsv" for part in ("train", "test")}
        places = [{part: root / f"{file}{suffix}" for part, file in names.items()} for suffix in (".gz", "")]
        paths = next((place for place in places if all(path.is_file() for path in place.values())), None)
        if paths is None:
            found = Official(title=self.title, files=(f"{names['train']}.gz with {names['test']}.gz",))
            raise found.missing(root, "it is not downloaded")
        return paths[split], paths["train"]
