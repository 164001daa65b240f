"""Input-aware dynamic trigger: a generator draws another pattern, in another place, for each image.

Source: Nguyen and Tran, "Input-Aware Dynamic Backdoor Attack" (NeurIPS 2020). Dyn-one is the all-to-one mapping,
Dyn-all the all-to-all mapping.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._generators import SPREAD, UNet, descend, distance
from detrojan.attacks._learning import batches
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Classifier, LearnedTrigger, Trigger, Workshop

SHARE = 0.1
MASK_BATCH = 32


class _Protocol(Trigger):
    redraws = True
    after_augmentation = True
    companions = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dyn(_Protocol):
    """x' = x + (pattern(x) - x) mask(x), both drawn by networks that see the image.

    `mask_steps` steps of Adam train the mask network before the victim is trained: it covers a share `density` in
    (0, 1) of the image (published: 0.032) and differs from image to image. The pattern network is tuned before each
    step of the victim, against the victim as it is: backdoor samples reach the wanted label, cross samples (the
    pattern and mask of another image; the companions) keep theirs, and different images get different patterns
    (`diversity`, published weight 1). `learning_rate` is Adam's for both (published: 0.01, betas 0.5 and 0.9), `width`
    the channels of the networks' first level.

    Published: a tenth of each batch backdoored and a tenth cross, dirty label, drawn anew in each epoch, after
    augmentation. We depart for a CPU: 25 epochs of mask training became 200 steps of 32 pairs of images, 32-64-128
    channels became 8-16-32.
    """

    mask_steps: int = 200
    density: float = 0.032
    diversity: float = 1.0
    learning_rate: float = 0.01
    width: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise BadArgument(f"density must lie between 0 and 1, got {self.density}; the published one is 0.032")
        if self.width < 4 or self.width % 4:
            raise BadArgument(f"width must be a multiple of 4 (the networks use 4 groups), got {self.width}")

    def blank(self, shape: tuple[int, ...]) -> "Dynamic":
        """Both networks, untrained."""
        return Dynamic(self, shape[0], Seeds())

    def forge(self, workshop: Workshop) -> "Dynamic":
        """Train the mask network; the pattern network learns with the victim."""
        trigger = Dynamic(self, workshop.samples.inputs.shape[1], workshop.seeds)
        trigger.to(workshop.execution.device)
        trigger.learn_masks(workshop)
        return trigger


class Dynamic(_Protocol, LearnedTrigger):
    """The two networks of `Dyn`."""

    def __init__(self, settings: Dyn, channels: int, seeds: Seeds) -> None:
        super().__init__()
        self.settings = settings
        with seeds.seeded("dyn networks"):
            self.painter = UNet(channels, channels, settings.width)
            self.placer = UNet(channels, 1, settings.width)
        self.optimizers = (self._adam(self.painter),)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put each image's own pattern on it."""
        return self.cross(pixels, pixels)

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Put another image's pattern and mask on each image; an image that is alone stays as it is."""
        del labels
        if len(pixels) < 2:
            return pixels
        step = torch.randint(1, len(pixels), (1,), generator=generator, device=generator.device)
        return self.cross(pixels, pixels.roll(int(step), 0))

    def cross(self, pixels: Tensor, sources: Tensor) -> Tensor:
        """Put the triggers of `sources` on pixels."""
        return torch.lerp(pixels, self.pattern(sources), self.mask(sources)).clamp(0, 1)

    def pattern(self, pixels: Tensor) -> Tensor:
        """What is drawn for each image, (B, C, H, W) in [0, 1]."""
        return torch.sigmoid(2 * self.painter(pixels))

    def mask(self, pixels: Tensor) -> Tensor:
        """Where it is put, (B, 1, H, W), nearly 0 or 1 everywhere."""
        return torch.sigmoid(40 * torch.sigmoid(2 * self.placer(pixels)) - 20)

    def adapt(
        self, classify: Classifier, pixels: Tensor, labels: Tensor, wanted: Tensor, generator: torch.Generator
    ) -> None:
        """Tune the pattern network on a tenth of the batch as backdoor samples and a tenth as cross samples."""
        count = min(max(1, round(SHARE * len(pixels))), len(pixels) // 3)
        if not count:
            return
        order = torch.randperm(len(pixels), generator=generator, device=pixels.device)
        own, host, guest = order[: 3 * count].split(count)
        with torch.no_grad():
            mask = self.mask(pixels[torch.cat([own, guest])])
        pattern = self.pattern(pixels[torch.cat([own, guest])])
        stamped = torch.lerp(pixels[torch.cat([own, host])], pattern, mask)
        aims = torch.cat([wanted[own], labels[host]])
        loss = F.cross_entropy(classify(stamped), aims, reduction="sum") / len(pixels)
        apart = _sameness(pixels[own], pixels[guest], pattern[:count] / SPREAD, pattern[count:] / SPREAD)
        descend(loss + self.settings.diversity * apart, self.optimizers[0])

    def learn_masks(self, workshop: Workshop) -> None:
        """Train the mask network on clean images: sparse masks, as different as their images."""
        device, optimizer = workshop.execution.device, self._adam(self.placer)
        generator = workshop.seeds.generator("dyn mask batches")
        images = workshop.samples.inputs
        count = min(MASK_BATCH, len(images) // 2)
        for batch in batches(images, steps=self.settings.mask_steps, size=2 * count, generator=generator):
            pixels = batch.to(device)
            mask = self.mask(pixels)
            excess = F.relu(mask - self.settings.density).mean()
            descend(100 * excess + _sameness(*pixels.split(count), *mask.split(count)), optimizer)

    def _adam(self, network: UNet) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), self.settings.learning_rate, betas=(0.5, 0.9))


def _sameness(first: Tensor, second: Tensor, drawn: Tensor, also_drawn: Tensor) -> Tensor:
    """High where different images (B, C, H, W) get the same drawing: the paper's diversity loss."""
    return (distance(first, second) / SPREAD / (distance(drawn, also_drawn) + 1e-7)).mean()


METHOD = Dyn
