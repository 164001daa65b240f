"""How much a trigger changes images: norms of the difference, as the backdoor literature gives them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """For each image (N,), in pixel values of 0 to 255: the largest change, and the Euclidean length of all changes.

    `changed` is the share in [0, 1] of an image's pixels of which any channel changed.
    """

    l_inf: Tensor
    l_2: Tensor
    changed: Tensor


def visibility(clean: Tensor, triggered: Tensor) -> Visibility:
    """Compare stored uint8 images (N, C, H, W) without and with the trigger."""
    difference = triggered.double() - clean.double()
    return Visibility(
        l_inf=difference.abs().flatten(1).amax(1),
        l_2=difference.flatten(1).norm(dim=1),
        changed=(difference != 0).any(1).flatten(1).double().mean(1),
    )
