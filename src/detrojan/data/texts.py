"""Sentences as tokens: words of a vocabulary that is made from the training part."""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from detrojan.errors import BadArgument, BadData, BadFile

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


def own_file(name: str, setting: str, value: str, root: Path) -> Path:
    """The file that a setting of a data set names: where the program runs, or under the root of data.

    Raises:
        BadArgument: the setting is empty.
        BadData: there is no such file.
    """
    if not value:
        raise BadArgument(f"{name}: {setting} is missing; name the file, {name}:{setting}=FILE")
    places = [Path(value).expanduser(), root / value]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise BadData(f"{name}:{setting}={value}: there is no file {' or '.join(map(str, places))}; check the path")
    return path
