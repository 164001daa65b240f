"""Small networks of sentences: convolutions, an LSTM, a Transformer, each behind an embedding of tokens."""

import torch
from torch import Tensor, nn

WORDS, LONGEST = 5000, 512


class TextCNN(nn.Module):
    """Convolutions over 3, 5 and 7 words, the largest answer of each. Source: Kim (2014), without norms there."""

    def __init__(self, width: int, num_classes: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, width, reach, padding="same"), nn.BatchNorm1d(width), nn.ReLU())
            for reach in (3, 5, 7)
        )
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(3 * width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L) to logits (B, num_classes)."""
        h, there = self.embedding(tokens).transpose(1, 2), (tokens != 0)[:, None]
        found = torch.cat([(branch(h) * there).amax(2) for branch in self.branches], 1)
        return self.fc(self.dropout(found))


class TextLSTM(nn.Module):
    """An LSTM in both directions, the mean of its outputs over the words."""

    def __init__(self, width: int, num_classes: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L) to logits (B, num_classes)."""
        h, _ = self.lstm(self.embedding(tokens))
        return self.fc(self.dropout(_mean(h, tokens)))


class TextTransformer(nn.Module):
    """Two layers of attention, norms first, the mean of their outputs over the words."""

    def __init__(self, width: int, num_classes: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L), L at most 512, to logits (B, num_classes)."""
        h = self.embedding(tokens) + self.places[: tokens.shape[1]]
        h = self.norm(self.layers(h, src_key_padding_mask=tokens == 0))
        return self.fc(_mean(h, tokens))


def text_cnn(width: int = 100, num_classes: int = 2, words: int = WORDS) -> TextCNN:
    """Convolutions over words; `words` is the size of the vocabulary."""
    return TextCNN(width, num_classes, words)


def text_lstm(width: int = 128, num_classes: int = 2, words: int = WORDS) -> TextLSTM:
    """An LSTM over words."""
    return TextLSTM(width, num_classes, words)


def text_transformer(width: int = 128, num_classes: int = 2, words: int = WORDS) -> TextTransformer:
    """A small Transformer over words."""
    return TextTransformer(width, num_classes, words)


def _mean(h: Tensor, tokens: Tensor) -> Tensor:
    """The mean over the words that are there."""
    there = (tokens != 0).to(h.dtype)[..., None]
    return (h * there).sum(1) / there.sum(1).clamp_min(1)
