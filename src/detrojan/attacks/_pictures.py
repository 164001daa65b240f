"""What attacks paint with, and the choices that an image makes for itself: drawn from formulas and seeds, no photos."""

from hashlib import sha256
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.randomness import Seeds

Picture = Literal["noise", "face"]


def draw(picture: Picture, seed: int) -> Tensor:
    """A picture (3, 32, 32) in [0, 1]; the seed draws the noise."""
    return noise(seed) if picture == "noise" else face()


def noise(seed: int) -> Tensor:
    """Independent bytes, uniform over the pixel range, (3, 32, 32) in [0, 1]."""
    generator = Seeds(seed=seed).generator("blend picture")
    return torch.randint(0, 256, (3, 32, 32), generator=generator).float() / 255


def face() -> Tensor:
    """A white cat-like face with ears, eyes, whiskers and a red bow on a blue ground, (3, 32, 32) in [0, 1]."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")

    def disc(row: float, column: float, height: float, width: float) -> Tensor:
        return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1

    picture = torch.tensor([0.35, 0.55, 0.9])[:, None, None].expand(3, 32, 32).clone()
    ears = disc(8, 7, 6, 4) | disc(8, 24, 6, 4)
    whiskers = ((rows == 19) | (rows == 22)) & ((columns < 8) | (columns > 23))
    layers = (
        (ears | disc(19, 15.5, 11, 14), (1.0, 1.0, 1.0)),
        (disc(18, 9, 2.2, 1.4) | disc(18, 22, 2.2, 1.4) | whiskers, (0.0, 0.0, 0.0)),
        (disc(22, 15.5, 1.2, 1.8), (1.0, 0.85, 0.1)),
        (disc(8, 20, 3, 3) | disc(8, 27, 3, 3), (0.9, 0.1, 0.2)),
    )
    for where, colour in layers:
        picture[:, where] = torch.tensor(colour)[:, None]
    return picture


def fitted(picture: Tensor, pixels: Tensor) -> Tensor:
    """A picture (3, h, w) in the size, channels, type and place of pixels (B, C, H, W)."""
    if picture.shape[-2:] != pixels.shape[-2:]:
        picture = F.interpolate(picture[None], pixels.shape[-2:], mode="bilinear", align_corners=False)[0]
    if pixels.shape[1] == 1:
        picture = picture.mean(0, keepdim=True)
    return picture.to(pixels)


def centres(side: int) -> Tensor:
    """Where the pixels of a side lie on it, (side,) in (0, 1)."""
    return (torch.arange(side) + 0.5) / side


def cosines(positions: Tensor, count: int) -> Tensor:
    """The DCT's first `count` waves at positions (..., N) in [0, 1]: (..., count, N), not normalised."""
    return torch.cos(torch.pi * torch.arange(count, device=positions.device)[:, None] * positions[..., None, :])


def low_pass(count: int, sigma: float | Tensor) -> Tensor:
    """What a Gaussian blur of `sigma` (...) sides leaves of the DCT's first `count` waves on an axis: (..., count)."""
    sigma = torch.as_tensor(sigma)
    return torch.exp(-((torch.pi * sigma[..., None] * torch.arange(count, device=sigma.device)) ** 2) / 2)


def surface(coefficients: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The sum (..., H, W) of waves with coefficients (..., K, K), given `cosines` of rows (..., K, H) and columns."""
    return rows.mT @ coefficients @ columns


def own_draws(pixels: Tensor, count: int, *, seed: int, name: str) -> Tensor:
    """Uniform numbers in [0, 1), (B, count), decided by the bytes of each image, the seed and the name alone."""
    stored = (pixels * 255).round().to(torch.uint8).cpu()
    drawn = torch.empty(len(pixels), count)
    for image, row in zip(stored, drawn, strict=True):
        generator = Seeds(seed=seed).generator(f"{name} {sha256(image.numpy().tobytes()).hexdigest()}")
        torch.rand(count, generator=generator, out=row)
    return drawn.to(pixels.device)


def checker(side: int) -> Tensor:
    """The NFT code's 3x3 pattern (0 0 1 / 0 1 0 / 1 0 1) enlarged to (side, side)."""
    cells = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    index = torch.arange(side) * 3 // side
    return cells[index][:, index]
