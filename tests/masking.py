"""Small networks for the tests of masks, and the one assertion that all of them share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detrojan.masks import Masks


def conv_net(norm: Callable[[int], nn.Module] = nn.BatchNorm2d, wrap: Callable[[nn.Module], nn.Module] = lambda m: m):
    """Convolution, norm, convolution, head on images of 8 x 8 pixels; `wrap` touches both convolutions."""
    torch.manual_seed(0)
    return nn.Sequential(
        wrap(nn.Conv2d(3, 6, 3)), norm(6), nn.ReLU(), nn.Dropout(0.5), wrap(nn.Conv2d(6, 4, 3)), nn.Flatten(),
        nn.Linear(64, 2),
    ).eval()  # fmt: skip


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def randomise(masks: Masks) -> Masks:
    generator = torch.Generator().manual_seed(2)
    for factor in masks.factors:
        nn.init.uniform_(factor, 0.0, 1.0, generator=generator)
    return masks


def assert_folds(masks: Masks, *inputs: Tensor, tolerance: float = 1e-5) -> nn.Module:
    """The fold of random factors gives the masked network's outputs, and differs from the victim."""
    with torch.no_grad():
        plain = masks.fold().eval()(*inputs)
        randomise(masks).eval()
        ours, theirs = masks.fold().eval()(*inputs), masks(*inputs)
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    assert not torch.allclose(ours, plain)
    return masks.fold()


class Net(nn.Module):
    """Named parts, called one after the other."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return x
