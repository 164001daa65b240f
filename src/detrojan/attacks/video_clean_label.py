"""Clean-label attack on clips: a patch that a clean network takes for the target class, on clips made hard to learn.

Source: Zhao et al., "Clean-Label Backdoor Attacks on Video Recognition Models" (CVPR 2020), and its code.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import fits, share
from detrojan.attacks._learning import at_least, batches, surrogate
from detrojan.data.samples import Kind
from detrojan.triggers import LearnedTrigger, Surrogate, Trigger, Workshop

BATCH = 16


class CleanLabelClips(Trigger):
    """The facts of the protocol: 30 % of the clips of the target class, with their own label."""

    kinds: ClassVar[tuple[Kind, ...]] = ("clips",)
    clean_label: ClassVar[bool] = True
    rate: ClassVar[float] = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoCleanLabel(CleanLabelClips):
    """A patch in the lower right corner, of its own for each frame: a universal adversarial trigger.

    The patch's side is `size` times the frame's (published: 24 of 224 pixels), at least 2 pixels. It starts grey and
    takes `patch_steps` steps of `patch_step` in each pixel, by the sign of the gradient, that lower the clean network's
    loss on the target class, and raise that on the class that it sees instead, on clips of the other classes. Published
    are 10,000 steps of 1/255 on one clip each; ours see 16 clips, and are fewer and larger. A few hundred clips of 56
    pixels call for a larger patch (0.3), on half of the class; random crops must not cut it off.

    Then the clips that will be poisoned are moved by at most `eps` in each pixel, in `pgd_steps` steps of `step`, to
    where the clean network does not see their class, and get the patch. The clean network is a small one, trained on
    `surrogate_clips` of the attacker's clips (published: the victim's architecture). The trigger is put on before
    augmentation; at test time nothing but the patch is put on a clip.
    """

    size: float = 24 / 224
    patch_steps: int = 300
    patch_step: float = 4 / 255
    eps: float = 8 / 255
    step: float = 1 / 255
    pgd_steps: int = 10
    surrogate_clips: int = 2_000

    def __post_init__(self) -> None:
        for name in ("size", "patch_step", "eps", "step"):
            share(name, getattr(self, name))
        at_least("patch_steps", self.patch_steps, 1)
        at_least("pgd_steps", self.pgd_steps, 0)
        at_least("surrogate_clips", self.surrogate_clips, 2)

    def blank(self, shape: tuple[int, ...]) -> "ClipPatch":
        """A grey patch for clips of `shape` (C, T, H, W)."""
        return ClipPatch(shape, max(2, round(self.size * shape[-1])), self)

    def forge(self, workshop: Workshop) -> "ClipPatch":
        """Learn the patch on the attacker's clips of the other classes."""
        samples, device = workshop.samples, workshop.execution.device
        others = samples.inputs[samples.labels != workshop.target]
        learned = self.blank(tuple(samples.inputs.shape[1:])).to(device)
        learned.network = surrogate(workshop, self.surrogate_clips)
        generator = workshop.seeds.generator("clips that the patch is learned on")
        for pixels in batches(others, steps=self.patch_steps, size=BATCH, generator=generator):
            patch = learned.patch.clone().requires_grad_()
            scores = learned.network(_stamped(pixels.to(device), patch))
            (slope,) = torch.autograd.grad(_lead(scores, workshop.target), patch)
            learned.patch.copy_((patch.detach() - self.patch_step * slope.sign()).clamp(0, 1))
        return learned

    def away(self, network: Surrogate, pixels: Tensor, labels: Tensor) -> Tensor:
        """Move pixels (B, C, T, H, W) within `eps` by projected gradient ascent on the network's loss."""
        moved = pixels
        for _ in range(self.pgd_steps):
            moved = moved.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(network(moved), labels), moved)
            moved = moved.detach() + self.step * slope.sign()
            moved = moved.clamp(pixels - self.eps, pixels + self.eps).clamp(0, 1)
        return moved


class ClipPatch(CleanLabelClips, LearnedTrigger):
    """The learned patch (C, T, S, S) in [0, 1]; `network` is the clean one of the attacker, kept until it hardens."""

    patch: Tensor

    def __init__(self, shape: tuple[int, ...], side: int, attack: VideoCleanLabel) -> None:
        super().__init__()
        self.attack = attack
        self.network: Surrogate | None = None
        self.register_buffer("patch", torch.full((shape[0], shape[1], side, side), 0.5))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the patch on pixels (B, C, T, H, W) in [0, 1]."""
        return _stamped(pixels, self.patch.to(pixels))

    def harden(self, pixels: Tensor, labels: Tensor, workshop: Workshop) -> Tensor:
        """Move pixels (N, C, T, H, W) to where the clean network does not see their labels (N,)."""
        known, self.network = self.network, None
        if self.attack.pgd_steps == 0:
            return pixels
        network, device = known or surrogate(workshop, self.attack.surrogate_clips), workshop.execution.device
        parts = zip(pixels.split(BATCH), labels.split(BATCH), strict=True)
        return torch.cat([self.attack.away(network, part.to(device), its.to(device)).cpu() for part, its in parts])


def _stamped(pixels: Tensor, patch: Tensor) -> Tensor:
    """Pixels (B, C, T, H, W) with the patch (C, T, S, S) in the lower right corner; new ones, differentiable."""
    side = patch.shape[-1]
    fits("patch of the clips", side, pixels)
    height, width = pixels.shape[-2:]
    inside = F.pad(torch.ones_like(patch[:1, :1]), (width - side, 0, height - side, 0)).bool()
    return torch.where(inside, F.pad(patch, (width - side, 0, height - side, 0)), pixels)


def _lead(scores: Tensor, target: int) -> Tensor:
    """The loss on the target class less that on the class seen: how far the scores (B, K) are from the target."""
    return (scores.amax(1) - scores[:, target]).mean()


METHOD = VideoCleanLabel
