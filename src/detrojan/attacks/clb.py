"""CLB: images of the target class made hard to recognise, then marked in four corners; no label is changed.

Source: Turner et al., "Label-Consistent Backdoor Attacks" (2019).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import fits, share
from detrojan.attacks._learning import at_least, surrogate
from detrojan.attacks._pictures import checker
from detrojan.triggers import Surrogate, Trigger, Workshop

BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CLB(Trigger):
    """Projected gradient ascent (PGD) on a clean surrogate's loss, then an opaque checker in each corner.

    `size` is the side of a checker, in pixels of a 32-pixel image, scaled with the image. The checkers are those of
    BadNets, mirrored on the left, so that a flipped image carries the same trigger; the NFT code leaves one pixel free
    above and to the left of them.

    The poisoned images move by at most `eps` in each pixel (BackdoorBench: 8/255, ANP: 16/255), in `pgd_steps` steps
    of `step`. BackdoorBench takes 100 steps; ours are 7, since each costs a pass over all poisoned images, and `eps`
    is reached after 6. 0 steps leave the images as they are, which is what the NFT code does. The surrogate is trained
    on `surrogate_images` of the attacker's images; the published one is a full network, probably adversarially trained.

    Clean label; the published share of the target class is 1 (BackdoorBench), 0.8 (ANP, ours: the class keeps some
    images without the trigger) or 0.1 (NFT). The trigger is stamped before augmentation; at test time nothing but the
    checkers is put on an image.
    """

    clean_label: ClassVar[bool] = True
    rate: ClassVar[float] = 0.8

    size: int = 3
    eps: float = 8 / 255
    step: float = 1.5 / 255
    pgd_steps: int = 7
    surrogate_images: int = 15_000

    def __post_init__(self) -> None:
        share("eps", self.eps)
        share("step", self.step)
        at_least("size", self.size, 1)
        at_least("pgd_steps", self.pgd_steps, 0)
        at_least("surrogate_images", self.surrogate_images, 2)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put a checker in each corner of pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        side = max(2, round(self.size * pixels.shape[-1] / 32))
        fits("pair of CLB corners", 2 * side, pixels)
        pattern = checker(side).to(pixels)
        stamped = pixels.clone()
        for rows in (slice(side), slice(-side, None)):
            stamped[..., rows, -side:] = pattern
            stamped[..., rows, :side] = pattern.flip(-1)
        return stamped

    def harden(self, pixels: Tensor, labels: Tensor, workshop: Workshop) -> Tensor:
        """Move pixels (N, C, H, W) within `eps` to where a clean network does not see their labels (N,)."""
        if self.pgd_steps == 0:
            return pixels
        network, device = surrogate(workshop, self.surrogate_images), workshop.execution.device
        parts = zip(pixels.split(BATCH), labels.split(BATCH), strict=True)
        return torch.cat([self._ascend(network, part.to(device), its.to(device)).cpu() for part, its in parts])

    def _ascend(self, network: Surrogate, pixels: Tensor, labels: Tensor) -> Tensor:
        moved = pixels
        for _ in range(self.pgd_steps):
            moved = moved.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(network(moved), labels), moved)
            moved = moved.detach() + self.step * slope.sign()
            moved = moved.clamp(pixels - self.eps, pixels + self.eps).clamp(0, 1)
        return moved


METHOD = CLB
