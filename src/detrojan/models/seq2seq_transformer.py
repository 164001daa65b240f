"""A small Transformer that reads a sentence and answers it, norms first."""

from typing import Any

import torch
from torch import Tensor, nn

WORDS, LONGEST = 5000, 512


class Seq2SeqTransformer(nn.Module):
    """Source: Vaswani et al., "Attention Is All You Need" (2017); places are learned and norms stand first."""

    def __init__(self, width: int, depth: int, heads: int, words: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        inner: dict[str, Any] = {"dropout": dropout, "batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, 2 * width, **inner), depth, nn.LayerNorm(width), False
        )
        self.target_embedding = nn.Embedding(num_classes, width, padding_idx=0)
        self.target_places = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, heads, 2 * width, **inner), depth, nn.LayerNorm(width)
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, source: Tensor, answer: Tensor) -> Tensor:
        """Map sources (B, S) and answers so far (B, T), at most 512 long, to the scores (B, T, V) of the next words."""
        unread = source == 0
        unread = unread & ~unread.all(1, keepdim=True)  # a sentence without words is looked at as it is
        h = self.dropout(self.embedding(source) + self.places[: source.shape[1]])
        memory = self.encoder(h, src_key_padding_mask=unread)
        length = answer.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=answer.device).triu(1)
        h = self.dropout(self.target_embedding(answer) + self.target_places[:length])
        h = self.decoder(h, memory, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=unread)
        return self.fc(h)


def seq2seq_transformer(
    width: int = 128, num_classes: int = WORDS, words: int = WORDS, depth: int = 2, heads: int = 4, dropout: float = 0.1
) -> Seq2SeqTransformer:
    """A Transformer of `depth` layers a side; `words` and `num_classes` are the sizes of the two vocabularies."""
    return Seq2SeqTransformer(width, depth, heads, words, num_classes, dropout)
