"""An LSTM that reads a sentence in both directions and one that answers, with attention to what was read."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS = 5000


class Seq2SeqLSTM(nn.Module):
    """Source: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation" (2015), `general`."""

    def __init__(self, width: int, words: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.encoder = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(width, width)
        self.target_embedding = nn.Embedding(num_classes, width, padding_idx=0)
        self.decoder = nn.LSTM(width, width, batch_first=True)
        self.query = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, source: Tensor, answer: Tensor) -> Tensor:
        """Map sources (B, S) and answers so far (B, T), 0 behind both, to the scores (B, T, V) of the next words."""
        there = source != 0
        lengths = there.sum(1).clamp_min(1)
        packed = pack_padded_sequence(
            self.dropout(self.embedding(source)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        memory, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=source.shape[1])
        start = torch.tanh(self.bridge(memory.sum(1) / lengths[:, None]))[None]
        h, _ = self.decoder(self.dropout(self.target_embedding(answer)), (start, torch.zeros_like(start)))
        scores = (self.query(h) @ memory.transpose(1, 2)).masked_fill(~there[:, None], -1e4)
        found = scores.softmax(-1) @ memory
        return self.fc(self.dropout(torch.tanh(self.combine(torch.cat([h, found], -1)))))


def seq2seq_lstm(width: int = 128, num_classes: int = WORDS, words: int = WORDS, dropout: float = 0.2) -> Seq2SeqLSTM:
    """LSTMs with attention; `words` and `num_classes` are the sizes of the two vocabularies."""
    return Seq2SeqLSTM(width, words, num_classes, dropout)
