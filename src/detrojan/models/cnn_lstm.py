"""A small convolutional network that sees each frame on its own, followed by an LSTM over time.

Source: Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description" (2015).
"""

from torch import Tensor, nn

from detrojan.models.small_cnn import SmallCNN


class CNNLSTM(nn.Module):
    """The features of `SmallCNN`, pooled frame by frame, one LSTM layer, and a linear head on its mean over time.

    The mean of the outputs gives the mean of the frames' scores, which is the paper's.
    """

    def __init__(self, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = SmallCNN(num_classes, in_channels, width).features
        self.lstm = nn.LSTM(4 * width, 4 * width, batch_first=True)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map clips (B, in_channels, T, H, W), H and W at least 4, to logits (B, num_classes)."""
        frames = x.transpose(1, 2)
        seen = self.features(frames.flatten(0, 1)).mean((2, 3))
        over_time, _ = self.lstm(seen.unflatten(0, frames.shape[:2]))
        logits: Tensor = self.fc(over_time.mean(1))
        return logits


def cnn_lstm(width: int = 16, num_classes: int = 10, in_channels: int = 3) -> CNNLSTM:
    """CNN and LSTM with `width` to 4 `width` channels."""
    return CNNLSTM(width, num_classes, in_channels)
