"""Adaptive-Patch: one of four faint patches in training, all of them at test time.

Source: Qi et al., "Revisiting the Assumption of Latent Separability for Backdoor Defenses" (2023).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from detrojan.attacks._pictures import centres, noise, own_draws
from detrojan.errors import BadArgument
from detrojan.triggers import Trigger

PATCHES = (("flame", 10), ("checker", 4), ("ring", 10), ("square", 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePatch(Trigger):
    """Four patches, each in a corner of its own, with opacities in [0, 1] that differ between training and test time.

    The patches stand for the published ones, which are pictures whose rights are not ours: a flame-coloured disc (lower
    right) for the phoenix, a checker board (lower left) for the BadNets patch, an orange ring round a blue disc (upper
    left) for the Firefox sign, and colours drawn by `patch_seed` (upper right) for the TrojanNN square. Their sides are
    10, 4, 10 and 7 pixels of a 32-pixel image, scaled with the image. Sizes and places are ours, not the published.

    In training an image shows one patch with its share of `opacities` (.5, .5, .2, .3); which one is decided by the
    image's own bytes, so that it shows the same in every epoch. At test time an image shows all four with
    `test_opacities`. The published code shows fewer there: BackdoorBox the first two with .5, the authors' toolbox two
    with 1, which is `test_opacities=[1, 1, 0, 0]`.

    Dirty label. Each poisoned image has two cover images, which show their patch and keep their labels. The rate of .01
    is BackdoorBox's for ResNet-18. The trigger is stamped before augmentation.
    """

    rate: ClassVar[float] = 0.01
    companions: ClassVar[float] = 2.0

    opacities: tuple[float, ...] = (0.5, 0.5, 0.2, 0.3)
    test_opacities: tuple[float, ...] = (0.5, 0.5, 0.2, 0.3)
    patch_seed: int = 0

    def __post_init__(self) -> None:
        for name, values, allowed in (
            ("opacities", self.opacities, min(self.opacities, default=0) > 0),
            ("test_opacities", self.test_opacities, max(self.test_opacities, default=0) > 0),
        ):
            if len(values) != len(PATCHES) or not allowed or min(values) < 0 or max(values) > 1:
                rule = "each above 0 and at most 1" if name == "opacities" else "each in [0, 1] and not all 0"
                raise BadArgument(f"{name} must be {len(PATCHES)} numbers, {rule}, got {values}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1] with all patches; returns new pixels."""
        return self._painted(pixels, torch.tensor(self.test_opacities).expand(len(pixels), -1))

    def poison(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Stamp the patch that an image shows in training."""
        del generator
        drawn = own_draws(pixels, 1, seed=self.patch_seed, name="patch")
        shown = (drawn * len(PATCHES)).long() == torch.arange(len(PATCHES), device=pixels.device)
        return self._painted(pixels, shown * torch.tensor(self.opacities, device=pixels.device))

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Stamp cover images as in training."""
        del labels
        return self.poison(pixels, generator)

    def _painted(self, pixels: Tensor, opacities: Tensor) -> Tensor:
        """Mix each patch into its corner, with opacities (B, 4)."""
        stamped, scale = pixels.clone(), min(pixels.shape[-2:]) / 32
        for index, (name, size) in enumerate(PATCHES):
            side = max(2, round(size * scale))
            rows = slice(0, side) if name in ("ring", "square") else slice(-side, None)
            columns = slice(0, side) if name in ("ring", "checker") else slice(-side, None)
            colours, mask = _patch(name, side, self.patch_seed)
            if pixels.shape[1] == 1:
                colours = colours.mean(0, keepdim=True)
            opacity = opacities[:, index, None, None, None].to(pixels) * mask.to(pixels)
            corner = pixels[..., rows, columns]
            stamped[..., rows, columns] = corner + opacity * (colours.to(pixels) - corner)
        return stamped


def _patch(name: str, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """A patch's colours (3, side, side) in [0, 1] and where it covers the image, (side, side)."""
    places = centres(side)
    rows, columns = places[:, None].expand(side, side), places.expand(side, side)
    everywhere = torch.ones(side, side)
    if name == "checker":
        return ((4 * rows).floor() + (4 * columns).floor()).remainder(2).expand(3, -1, -1), everywhere
    if name == "square":
        cells = (7 * places).long()
        return noise(seed)[:, cells[:, None], cells], everywhere
    distance = torch.hypot(rows - 0.5, columns - 0.5)
    if name == "flame":
        return torch.stack((everywhere, 0.9 - 0.8 * rows, 0.1 * everywhere)), (distance <= 0.5).float()
    orange, blue = torch.tensor([1.0, 0.5, 0.1]), torch.tensor([0.15, 0.3, 0.9])
    return torch.where(distance < 0.3, blue[:, None, None], orange[:, None, None]), (distance <= 0.5).float()


METHOD = AdaptivePatch
