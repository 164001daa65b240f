"""Image classification: one label an image."""

from dataclasses import dataclass

from detrojan.tasks._pictures import Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Pictures):
    """What an image network's batch (B, C, H, W), loss and prediction mean.

    `padding` is the reach of the random crop as a share of the side (1/8: 4 pixels of 32). `flip` mirrors half of the
    images; switch it off where a mirrored input is another class, as with digits and text.
    """


METHOD = Image
