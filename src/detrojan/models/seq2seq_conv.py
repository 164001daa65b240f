"""Convolutions with gates that read a sentence and answer it, with attention in every layer of the answer."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, LONGEST = 5000, 512


class GatedConv1d(nn.Conv1d):
    """A convolution of twice the channels, of which the second half opens and shuts the first (gated linear unit).

    `gated` tells masks that a unit is a channel behind the gate.
    """

    gated = True

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of torch
        """Map (B, C, L) to (B, out_channels / 2, L')."""
        return F.glu(super().forward(input), 1)


class _Answering(nn.Module):
    """A layer of the answer: a convolution over the words so far, then attention to the source."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.conv = GatedConv1d(width, 2 * width, reach)
        self.query = nn.Linear(width, width)

    def forward(self, h: Tensor, words: Tensor, keys: Tensor, values: Tensor, there: Tensor) -> Tensor:
        """Of what stands so far (B, T, C) and its words' vectors; keys and values (B, S, C) are the source's."""
        found = self.conv(F.pad(h.transpose(1, 2), (self.reach - 1, 0))).transpose(1, 2)
        scores = ((self.query(found) + words) * sqrt(0.5) @ keys.transpose(1, 2)).masked_fill(~there[:, None], -1e4)
        return ((found + scores.softmax(-1) @ values) * sqrt(0.5) + h) * sqrt(0.5)


class Seq2SeqConv(nn.Module):
    """Source: Gehring et al., "Convolutional Sequence to Sequence Learning" (2017), with learned places."""

    def __init__(self, width: int, depth: int, reach: int, words: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(0.1 * torch.randn(LONGEST, width))
        self.encoder = nn.ModuleList(GatedConv1d(width, 2 * width, reach, padding="same") for _ in range(depth))
        self.target_embedding = nn.Embedding(num_classes, width, padding_idx=0)
        self.target_places = nn.Parameter(0.1 * torch.randn(LONGEST, width))
        self.decoder = nn.ModuleList(_Answering(width, reach) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, source: Tensor, answer: Tensor) -> Tensor:
        """Map sources (B, S) and answers so far (B, T), at most 512 long, to the scores (B, T, V) of the next words."""
        there = source != 0
        shown = there[..., None]
        heard = self.dropout(self.embedding(source) + self.places[: source.shape[1]]) * shown
        keys = heard
        for layer in self.encoder:
            keys = (layer(keys.transpose(1, 2)).transpose(1, 2) + keys) * sqrt(0.5) * shown
        words = self.dropout(self.target_embedding(answer) + self.target_places[: answer.shape[1]])
        h = words
        for layer in self.decoder:
            h = layer(h, words, keys, (keys + heard) * sqrt(0.5), there)
        return self.fc(self.dropout(h))


def seq2seq_conv(
    width: int = 128, num_classes: int = WORDS, words: int = WORDS, depth: int = 3, reach: int = 3, dropout: float = 0.2
) -> Seq2SeqConv:
    """`depth` layers a side of `reach` words; `words` and `num_classes` are the sizes of the two vocabularies."""
    return Seq2SeqConv(width, depth, reach, words, num_classes, dropout)
