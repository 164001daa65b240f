"""Strong views of a batch, to which the same answer is right although much is changed; and two images in one.

Each is a function of a tensor and a generator, on the batch's own device. Images are (B, C, H, W), clips
(B, C, T, H, W), bytes or pixels in [0, 1], and all frames of a clip change alike; sentences are tokens (B, L), with 0
behind their end; clouds are points (B, P, 3) about the origin, which reach from about -1 to 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from detrojan.augmentation import by_image, bytes_of, integers, need_pictures


def strong_view(images: Tensor, generator: torch.Generator, *, smallest: float = 0.5, cast: float = 0.3) -> Tensor:
    """A part of each image, `smallest` of its area or more, at full size, under RandAugment, a colour cast and a box.

    The cast scales the contrast of each channel by up to `cast`, and moves its mean by up to half of that; the box
    holds noise.

    Source: after the strong views of Sohn et al., "FixMatch" (2020); the noise is that of Zhong et al., "Random Erasing
    Data Augmentation" (2020).
    """

    def casting(image: Tensor) -> Tensor:
        contrast, shift = torch.rand(2, image.shape[-3], 1, 1) - 0.5
        mean = image.mean((-2, -1), keepdim=True)
        return ((image - mean) * (1 + 2 * cast * contrast) + mean + cast * shift).clamp(0, 1)

    changes = [
        v2.RandomResizedCrop(images.shape[-2:], scale=(smallest, 1.0), antialias=True),
        v2.RandAugment(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Lambda(casting),
        v2.RandomErasing(1.0, value="random"),
        v2.Lambda(bytes_of),
    ]
    return by_image(images, v2.Compose(changes), generator, clips=True)


def side_by_side(
    first: Tensor, second: Tensor, generator: torch.Generator, *, least: float = 0.3
) -> tuple[Tensor, Tensor]:
    """A part of one image and the rest of another, (B, C, H, W), beside or below each other; the same of clips.

    Returns:
        The images, and the share (B,) of the first in each: the cut is drawn evenly from [least, 1 - least].
    """
    need_pictures("side_by_side", first, clips=True)
    batch, (height, width) = len(first), first.shape[-2:]
    cut = least + (1 - 2 * least) * torch.rand(batch, 1, 1, generator=generator, device=generator.device)
    upright = integers(2, batch, generator, generator.device).bool()[:, None, None]
    cut, upright = cut.to(first.device), upright.to(first.device)
    rows = torch.arange(height, device=first.device)[:, None] < (cut * height).round()
    columns = torch.arange(width, device=first.device) < (cut * width).round()
    kept = torch.where(upright, columns, rows).expand(batch, height, width)
    shown = kept.view(batch, *[1] * (first.ndim - 3), height, width)
    return torch.where(shown, first, second), kept.float().mean((1, 2))


def drawn_from(words: range, count: int, generator: torch.Generator) -> Tensor:
    """So many of these words, (count,): each as often as any other, or once more, in random order."""
    order = torch.randperm(len(words), generator=generator, device=generator.device)
    return words.start + order[torch.arange(count, device=order.device) % len(words)]


def with_words(tokens: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """Sentences (B, L), each with a word (B,) put between two others; a full one loses the word before its last.

    The first and the last token stay where they are: they may be marks that a tokenizer sets.
    """
    length, full = (tokens != 0).sum(1), tokens.shape[1]
    draw = torch.rand(len(tokens), generator=generator, device=generator.device).to(tokens.device)
    place = (1 + draw * (length - 1).clamp_min(1)).long().clamp_max(max(1, full - 2))[:, None]
    column = torch.arange(full, device=tokens.device)[None]
    kept = (column < place) | ((column == full - 1) & (tokens != 0))
    moved = torch.where(kept, tokens, tokens.roll(1, 1))
    return torch.where(column == place, words[:, None].to(tokens.device), moved)


def turns_and_balls(count: int, generator: torch.Generator, *, turn: float = 45.0, tilt: float = 10.0) -> Tensor:
    """What `turned_or_filled` does to clouds, (count, 7), by turns: a rotation in radians about each axis, or a ball.

    Rotations are drawn evenly, by up to `turn` degrees about axis 2, which points up, and by up to `tilt` about the
    others. Of a ball there is its centre, anywhere from -1 to 1, and the share of points that it takes, up to 0.05.
    """
    draw = torch.rand(count, 7, generator=generator, device=generator.device)
    most = torch.tensor([tilt, tilt, turn], device=draw.device).deg2rad()
    signs = torch.cat([most * (2 * draw[:, :3] - 1), 2 * draw[:, 3:6] - 1, 0.05 * draw[:, 6:]], 1)
    filled = torch.arange(count, device=draw.device)[:, None] % 2 == 0
    only = torch.arange(7, device=draw.device) >= 3
    return signs * (filled == only)


def turned_or_filled(points: Tensor, signs: Tensor, generator: torch.Generator, *, radius: float = 0.05) -> Tensor:
    """Clouds (B, P, 3), each turned or with a ball in place of random points, as rows of `turns_and_balls` say."""
    signs = signs.to(points)
    x, y, z = signs[:, :3].unbind(1)
    nothing = torch.zeros_like(x)
    rows = [nothing, -z, y, z, nothing, -x, -y, x, nothing]
    moved = points @ torch.linalg.matrix_exp(torch.stack(rows, 1).view(-1, 3, 3)).mT
    draw = torch.rand(points.shape[:2], generator=generator, device=generator.device).to(points)
    sphere = F.normalize(torch.randn(points.shape, generator=generator, device=generator.device), dim=-1).to(points)
    taken = draw.argsort(1).argsort(1) < (signs[:, 6:] * points.shape[1]).ceil()
    return torch.where(taken[..., None], signs[:, None, 3:6] + radius * sphere, moved)
