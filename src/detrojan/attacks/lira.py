"""LIRA: a generator learns invisible noise for each image together with the victim.

Source: Doan et al., "LIRA: Learnable, Imperceptible and Robust Backdoor Attacks" (ICCV 2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.attacks._generators import Autoencoder, descend
from detrojan.attacks._learning import at_least
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Classifier, LearnedTrigger, Trigger, Workshop


class _Protocol(Trigger):
    redraws = True
    after_augmentation = True
    rate = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lira(_Protocol):
    """x' = clip(x + eps T(x)), T an autoencoder with outputs in [-1, 1]; `eps` in (0, 1] is in pixel units.

    In the first `learning_epochs` epochs a copy of T is tuned before each step of the victim, by the cross entropy
    towards the wanted labels; at each epoch's start it replaces T, which the victim is trained with. Then T is frozen.
    `learning_rate` is Adam's, `width` the channels of T's first layer.

    Published: each batch twice, clean and triggered, with half of the loss each, dirty label, after augmentation, 50 of
    300 epochs of learning, Adam 1e-4, eps 0.01 of normalised inputs, which is about 0.6 of 255 levels and vanishes
    when images are stored as bytes. We depart for narrow networks and short trainings: a fifth of the samples is
    triggered (drawn anew in each epoch), which leaves the others for the task; eps 0.02 (5 levels); 1 epoch of learning
    with Adam 1e-3, so that a training of four has a second stage.
    """

    eps: float = 0.02
    learning_epochs: int = 1
    learning_rate: float = 1e-3
    width: int = 16

    def __post_init__(self) -> None:
        share("eps", self.eps)
        at_least("learning_epochs", self.learning_epochs, 1)
        if self.width < 4 or self.width % 4:
            raise BadArgument(f"width must be a multiple of 4 (the network uses 4 groups), got {self.width}")

    def blank(self, shape: tuple[int, ...]) -> "LearnedNoise":
        """T and its copy, untrained."""
        return LearnedNoise(self, shape[0], Seeds())

    def forge(self, workshop: Workshop) -> "LearnedNoise":
        """T as it is before the first step."""
        trigger = LearnedNoise(self, workshop.samples.inputs.shape[1], workshop.seeds)
        return trigger.to(workshop.execution.device)


class LearnedNoise(_Protocol, LearnedTrigger):
    """The generator of `Lira`, and the copy that is tuned."""

    def __init__(self, settings: Lira, channels: int, seeds: Seeds) -> None:
        super().__init__()
        self.settings, self.learning = settings, True
        with seeds.seeded("lira network"):
            self.noise = Autoencoder(channels, channels, settings.width)
            self.tuned = Autoencoder(channels, channels, settings.width)
        self.tuned.load_state_dict(self.noise.state_dict())
        self.optimizers = (torch.optim.Adam(self.tuned.parameters(), settings.learning_rate),)

    def stamp(self, pixels: Tensor) -> Tensor:
        """Add the noise of the frozen generator."""
        return self._add(self.noise, pixels)

    def adapt(
        self, classify: Classifier, pixels: Tensor, labels: Tensor, wanted: Tensor, generator: torch.Generator
    ) -> None:
        """Tune the copy towards the wanted labels."""
        del labels, generator
        if self.learning:
            descend(F.cross_entropy(classify(self._add(self.tuned, pixels)), wanted), self.optimizers[0])

    def between_epochs(self, epoch: int, classify: Classifier, samples: Samples, wanted: Tensor) -> None:
        """Take over what the copy has learned, up to the end of the learning epochs."""
        del classify, samples, wanted
        self.learning = epoch < self.settings.learning_epochs
        if epoch <= self.settings.learning_epochs:
            self.noise.load_state_dict(self.tuned.state_dict())

    def _add(self, network: Autoencoder, pixels: Tensor) -> Tensor:
        return (pixels + self.settings.eps * torch.tanh(network(pixels))).clamp(0, 1)


METHOD = Lira
