"""Image classification: one label an image."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from detrojan.augmentation import crop_and_flip
from detrojan.errors import BadArgument, Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image network's batch, loss and prediction mean.

    `padding` is the reach of the random crop as a share of the side (1/8: 4 pixels of 32). `flip` mirrors half of the
    images; switch it off where a mirrored input is another class, as with digits and text.
    """

    padding: float = 0.125
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.padding < 1:
            raise BadArgument(f"padding is a share of the image's side in [0, 1), got {self.padding}")

    def augment(self, images: Tensor, generator: Any) -> Tensor:
        """Weak augmentation of a batch (B, C, H, W): random crop and flip."""
        return crop_and_flip(images, generator, padding=round(self.padding * images.shape[-1]), flip=self.flip)

    def logits(self, outputs: Any) -> Tensor:
        """The class scores (B, K) in a network's output: a tensor, or a record or mapping that holds `logits`.

        Raises:
            Unsupported: the output holds no (B, K) tensor.
        """
        found = getattr(outputs, "logits", None)
        if found is None and isinstance(outputs, dict):
            found = outputs.get("logits")
        if found is None and isinstance(outputs, (tuple, list)):
            found = outputs[0]
        scores = outputs if found is None else found
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            kind = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise Unsupported(
                f"an image classifier must return class scores of shape (B, K), this network returned {kind}"
            )
        return scores.float()

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """Cross-entropy of each example, (B,)."""
        return F.cross_entropy(self.logits(outputs), labels, reduction="none")

    def predict(self, outputs: Any) -> Tensor:
        """The predicted label of each example, (B,)."""
        return self.logits(outputs).argmax(1)


METHOD = Image
