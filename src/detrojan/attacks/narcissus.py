"""Narcissus: faint noise that a clean network takes for the target class itself; no label is changed.

Source: Zeng et al., "Narcissus: A Practical Clean-Label Backdoor Attack with Limited Information" (2023).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.attacks._learning import at_least, batches, surrogate
from detrojan.errors import BadArgument, BadData
from detrojan.triggers import LearnedTrigger, Trigger, Workshop

BATCH = 128


class CleanLabel(Trigger):
    """The facts of the protocol: a tenth of the target class, with its own label.

    Published are 0.5 % of the target class (25 images of CIFAR-10), for noise of a surrogate trained for 200 epochs.
    """

    clean_label: ClassVar[bool] = True
    rate: ClassVar[float] = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Narcissus(CleanLabel):
    """One noise picture n for all images, |n| <= `eps`, that minimises a surrogate's loss on the target class.

    Poisoned images carry n, test images `amplify` times n (published: 16/255, and 3); both saturate. n is learned in
    `noise_steps` batches of 128 by Adam with a step of `learning_rate` in pixels (published: RAdam, which starts
    slowly, up to 1000 rounds over the target class, 0.005 on this scale).

    The published attacker sees the target class only: the surrogate is trained on pictures from elsewhere for 200
    epochs, then on the target class for 5. Ours is trained on `surrogate_images` of the attacker's own training
    images, of all classes, and therefore knows more of the task and less of the world. To make up for its short
    training more images are poisoned. The noise is put on before augmentation.
    """

    eps: float = 16 / 255
    amplify: float = 3.0
    noise_steps: int = 200
    learning_rate: float = 0.005
    surrogate_images: int = 15_000

    def __post_init__(self) -> None:
        share("eps", self.eps)
        share("learning_rate", self.learning_rate)
        at_least("noise_steps", self.noise_steps, 1)
        at_least("surrogate_images", self.surrogate_images, 2)
        if not self.amplify >= 1:
            raise BadArgument(f"amplify must be at least 1 (test noise as strong as in training), got {self.amplify}")

    def blank(self, shape: tuple[int, ...]) -> "NarcissusNoise":
        """No noise yet, for images of `shape` (C, H, W)."""
        return NarcissusNoise(shape, self.amplify)

    def forge(self, workshop: Workshop) -> "NarcissusNoise":
        """Learn the noise on the attacker's images of the target class.

        Raises:
            BadData: there are none.
        """
        samples, device = workshop.samples, workshop.execution.device
        own = samples.inputs[samples.labels == workshop.target]
        if len(own) == 0:
            raise BadData(f"{samples.name}: Narcissus needs images of the target class {workshop.target}, found none")
        network = surrogate(workshop, self.surrogate_images)
        learned = self.blank(tuple(samples.inputs.shape[1:])).to(device)
        noise = learned.noise.clone().requires_grad_()
        optimizer = torch.optim.Adam([noise], lr=self.learning_rate)
        generator = workshop.seeds.generator("narcissus batches")
        for pixels in batches(own, steps=self.noise_steps, size=BATCH, generator=generator):
            scores = network((pixels.to(device) + noise).clamp(0, 1))
            loss = F.cross_entropy(scores, torch.full((len(pixels),), workshop.target, device=scores.device))
            (noise.grad,) = torch.autograd.grad(loss, noise)
            optimizer.step()
            with torch.no_grad():
                noise.clamp_(-self.eps, self.eps)
        learned.noise.copy_(noise.detach())
        return learned


class NarcissusNoise(CleanLabel, LearnedTrigger):
    """The noise (C, H, W), as it is put on poisoned images; test images get it `amplify` times."""

    noise: Tensor

    def __init__(self, shape: tuple[int, ...], amplify: float) -> None:
        super().__init__()
        self.amplify = amplify
        self.register_buffer("noise", torch.zeros(shape))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Add the amplified noise to pixels (B, C, H, W) in [0, 1]."""
        return (pixels + self.amplify * self.noise.to(pixels)).clamp(0, 1)

    def poison(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Add the noise as it was learned."""
        del generator
        return (pixels + self.noise.to(pixels)).clamp(0, 1)


METHOD = Narcissus
