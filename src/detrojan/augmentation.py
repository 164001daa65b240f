"""Augmentations of a batch, on the batch's own device, each a function of a tensor and a generator.

Images are (B, C, H, W), of any scale: bytes, pixels in [0, 1] or normalised. RandAugment and AugMix come from
torchvision and need bytes or pixels in [0, 1]. Point clouds are (B, P, 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from detrojan.errors import BadArgument, Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A batch in which each example is mixed with a partner of the same batch.

    `inputs` (B, ...) are the mixed examples (of tokens, what the task mixes inside of the network), `partner` (B,) the
    index of each one's partner, `weight` in [0, 1] the share of the example itself; the loss is mixed with the same
    weight.
    """

    inputs: Any
    partner: Tensor
    weight: float

    def loss(self, own: Tensor, partners: Tensor) -> Tensor:
        """Mix the mean losses against an example's own label and against its partner's."""
        return self.weight * own.mean() + (1 - self.weight) * partners.mean()


def crop_and_flip(images: Tensor, generator: torch.Generator, *, padding: int = 4, flip: bool = True) -> Tensor:
    """Random crop of the zero-padded image and random horizontal flip, drawn for each image on its own.

    All frames of a clip (B, C, T, H, W) are cropped and mirrored alike.
    """
    if images.ndim == 5:
        return crop_and_flip(images.flatten(1, 2), generator, padding=padding, flip=flip).view_as(images)
    batch, _, height, width = images.shape
    if padding:
        padded = F.pad(images, (padding,) * 4)
        top = integers(2 * padding + 1, batch, generator, images.device)
        left = integers(2 * padding + 1, batch, generator, images.device)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = left[:, None] + torch.arange(width, device=images.device)
        index = torch.arange(batch, device=images.device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        flipped = integers(2, batch, generator, images.device).bool()
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    return images


def mixup(inputs: Tensor, generator: torch.Generator, *, alpha: float = 1.0) -> Mixed:
    """MixUp: one weight from Beta(alpha, alpha) for the batch, partners by a random permutation.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).
    """
    weight, partner = _beta(alpha, generator), _permutation(inputs, generator)
    return Mixed(inputs=torch.lerp(inputs[partner], inputs, weight), partner=partner, weight=weight)


def cutmix(images: Tensor, generator: torch.Generator, *, alpha: float = 1.0) -> Mixed:
    """CutMix: a box of the partner pasted into each image or clip; the weight is the share of pixels kept.

    Source: Yun et al., "CutMix" (2019); of clips, a box in space and time, "VideoMix" (Yun et al., 2020).

    Raises:
        Unsupported: the inputs are neither.
    """
    need_pictures("CutMix", images, clips=True)
    partner = _permutation(images, generator)
    box = _box(images.shape[2:], 1 - _beta(alpha, generator), generator)
    pasted = images.clone()
    pasted[:, :, *box] = images[partner][:, :, *box]
    share = prod(side.stop - side.start for side in box) / prod(images.shape[2:])
    return Mixed(inputs=pasted, partner=partner, weight=1 - share)


def point_cutmix(clouds: Tensor, generator: torch.Generator, *, alpha: float = 1.0) -> Mixed:
    """A share of each cloud's points, drawn anew, replaced by points of the partner; the weight is the share kept.

    Source: Zhang et al., "PointCutMix" (2021), its random variant. There a point gives way to the one that it is
    assigned to in the cheapest matching of both clouds; here, for speed, to the one that is stored at its place.
    """
    partner, count = _permutation(clouds, generator), clouds.shape[1]
    kept = round(_beta(alpha, generator) * count)
    order = torch.rand(clouds.shape[:2], generator=generator, device=generator.device).argsort(1).to(clouds.device)
    replaced = (order >= kept)[..., None]
    return Mixed(inputs=torch.where(replaced, clouds[partner], clouds), partner=partner, weight=kept / count)


def point_mixup(clouds: Tensor, generator: torch.Generator, *, alpha: float = 1.0) -> Mixed:
    """Each point moved towards its partner in the cheapest one-to-one matching with the partner's cloud.

    Source: Chen et al., "PointMixup: Augmentation for Point Clouds" (2020).
    """
    weight, partner = _beta(alpha, generator), _permutation(clouds, generator)
    matched = torch.stack([_matched(own, other) for own, other in zip(clouds, clouds[partner], strict=True)])
    return Mixed(inputs=torch.lerp(matched, clouds, weight), partner=partner, weight=weight)


def cutout(images: Tensor, generator: torch.Generator, *, size: float = 0.5) -> Tensor:
    """Cutout: a square of `size` times the side set to zero, drawn for each image; it may reach over the edge.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).

    Raises:
        Unsupported: the inputs are no images.
    """
    need_pictures("Cutout", images)
    batch, _, height, width = images.shape
    half = max(1, round(size * min(height, width) / 2))
    rows = (
        torch.arange(height, device=images.device) - integers(height, batch, generator, images.device)[:, None]
    ).abs()
    columns = (
        torch.arange(width, device=images.device) - integers(width, batch, generator, images.device)[:, None]
    ).abs()
    hole = (rows < half)[:, None, :, None] & (columns < half)[:, None, None, :]
    return images.masked_fill(hole, 0)


def pixels_of(images: Tensor) -> Tensor:
    """Bytes become pixels in [0, 1]; all else passes, be it images, points or tokens."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def bytes_of(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] as bytes, rounded, with saturation."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


def brightness(images: Tensor, generator: torch.Generator, *, strength: float = 0.2) -> Tensor:
    """Scale each image, clip or cloud by a factor drawn from [1 - strength, 1 + strength]."""
    draw = torch.rand(len(images), generator=generator, device=generator.device).to(images.device)
    return images * (1 + strength * (2 * draw - 1)).to(images.dtype).view(-1, *[1] * (images.ndim - 1))


def randaugment(images: Tensor, generator: torch.Generator, *, operations: int = 2, magnitude: int = 9) -> Tensor:
    """RandAugment of torchvision, drawn for each image or clip. Source: Cubuk et al. (2020)."""
    return by_image(images, v2.RandAugment(operations, magnitude), generator, clips=True)


def augmix(images: Tensor, generator: torch.Generator, *, severity: int = 3, width: int = 3) -> Tensor:
    """AugMix of torchvision (without its consistency loss), drawn for each image. Source: Hendrycks et al. (2020)."""
    return by_image(images, v2.AugMix(severity, width), generator)


def by_image(images: Tensor, transform: v2.Transform, generator: torch.Generator, *, clips: bool = False) -> Tensor:
    """A transform of torchvision on bytes, drawn anew for each image (B, C, H, W); floats come back.

    Where `clips` are allowed, (B, C, T, H, W), it is drawn for each clip; then it must change all frames alike.

    Raises:
        Unsupported: they are no images.
        BadArgument: their values lie outside of [0, 1].
    """
    need_pictures(type(transform).__name__, images, clips=clips)
    images = pixels_of(images)
    if images.numel() and (images.amin() < 0 or images.amax() > 1):
        raise BadArgument(
            f"{type(transform).__name__} needs pixels in [0, 1], got values from {images.amin():.3g} to "
            f"{images.amax():.3g}; give unnormalised samples and the normalisation as `preprocessing`"
        )
    pixels = (images * 255).round().to(torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(integers(2**31 - 1, 1, generator, torch.device("cpu"))))
        # torchvision has the channels third from last
        changed = torch.stack([transform(image.movedim(0, -3)).movedim(-3, 0) for image in pixels.cpu()])
    return changed.to(images.device, images.dtype) / 255


def need_pictures(name: str, inputs: Tensor, *, clips: bool = False) -> None:
    """Refuse what has no pixels beside each other."""
    if not (inputs.ndim == 4 or (clips and inputs.ndim == 5)):
        made_for = "images (B, C, H, W) or clips (B, C, T, H, W)" if clips else "images (B, C, H, W)"
        raise Unsupported(
            f"{name} is made for {made_for}, found {inputs.dtype} of {tuple(inputs.shape)}; use MixUp, which asks the "
            "task how its inputs are mixed, or none (augmentation=mixup, augmentation=none)"
        )


def integers(high: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """So many integers from 0 to below `high`, on a device."""
    return torch.randint(high, (count,), generator=generator, device=generator.device).to(device)


def _permutation(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(integers(2**31 - 1, 1, generator, torch.device("cpu")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return float(torch.distributions.Beta(alpha, alpha).sample())


def _box(sides: Sequence[int], share: float, generator: torch.Generator) -> tuple[slice, ...]:
    """A box of this share of the volume, as far as it does not reach over the edge."""
    slices = []
    for side in sides:
        centre = int(integers(side, 1, generator, torch.device("cpu")))
        half = share ** (1 / len(sides)) * side / 2
        slices.append(slice(max(0, round(centre - half)), min(side, round(centre + half))))
    return tuple(slices)


def _matched(own: Tensor, other: Tensor) -> Tensor:
    """The points of another cloud, in the order in which they lie nearest to our own in all."""
    distance = torch.cdist(own.detach().float(), other.detach().float()).square()
    _, columns = linear_sum_assignment(distance.cpu().numpy())
    return other[torch.as_tensor(columns, device=other.device)]
