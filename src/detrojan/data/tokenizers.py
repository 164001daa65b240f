"""The tokens of a network's own tokenizer, from the folder in which transformers saved both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detrojan.data.numbering import END, Numbering, numbering_of
from detrojan.data.texts import SPECIAL
from detrojan.errors import BadFile, MissingExtra


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A tokenizer, and how the network beside it counts.

    `vocabulary` has the piece of each stored token; the unknown one is called `<unknown>`, as in every vocabulary.
    `pair` says that the network reads a sentence and writes the answer apart (Marian, T5, Bart), in place of both in
    one row (GPT-2, Llama).
    """

    inner: Any
    numbering: Numbering
    vocabulary: tuple[str, ...]
    pair: bool

    def sources(self, sentences: Sequence[str], *, length: int | None = None) -> list[Tensor]:
        """The stored tokens of each sentence, with what the tokenizer sets around it; cut off at a length."""
        cut = {} if length is None else {"truncation": True, "max_length": length}
        return self._stored(self.inner(list(sentences), **cut)["input_ids"])

    def answers(self, sentences: Sequence[str]) -> list[Tensor]:
        """The stored tokens of sentences that a network is to say; each ends in the token 3."""
        told = {"text_target" if self.pair else "text": list(sentences)}
        found = self._stored(self.inner(**told, add_special_tokens=self.pair)["input_ids"])
        end = torch.tensor([END])
        return [tokens if len(tokens) and tokens[-1] == END else torch.cat([tokens, end]) for tokens in found]

    def _stored(self, sentences: Sequence[Sequence[int]]) -> list[Tensor]:
        return [self.numbering.stored(torch.tensor(tokens, dtype=torch.int64)) for tokens in sentences]


def tokenizer_in(folder: str | Path) -> Tokenizer:
    """Read the tokenizer of a folder; no code that comes with it is run.

    Raises:
        BadFile: the folder has no `config.json`, or no tokenizer that transformers knows.
        MissingExtra: transformers is not installed.
    """
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise BadFile(f"tokenizer={folder} must be a folder with the network's config.json, and {path} has none")
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers is not installed: pip install 'detrojan[text]'") from error
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        inner = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise BadFile(f"{path}: transformers finds no tokenizer that it knows there ({said[0][:200]})") from error
    numbering = numbering_of(config)
    return Tokenizer(
        inner=inner,
        numbering=numbering,
        vocabulary=_vocabulary(inner, numbering, max(len(inner), getattr(config, "vocab_size", 0))),
        pair=bool(getattr(config, "is_encoder_decoder", False)),
    )


def padded(sentences: Sequence[Tensor], *, length: int) -> Tensor:
    """Tokens (N, L), with 0 behind the end of each sentence."""
    tokens = torch.zeros(len(sentences), length, dtype=torch.int64)
    for row, sentence in zip(tokens, sentences, strict=True):
        row[: len(sentence)] = sentence
    return tokens


def _vocabulary(inner: Any, numbering: Numbering, words: int) -> tuple[str, ...]:
    pieces = {token: piece for piece, token in inner.get_vocab().items()}
    unknown = inner.unk_token_id
    if unknown is not None and unknown != inner.eos_token_id:
        pieces[unknown] = SPECIAL[1]
    own = numbering.own(torch.arange(words)).tolist()
    return tuple(pieces.get(token, f"<{token}>") for token in own)
