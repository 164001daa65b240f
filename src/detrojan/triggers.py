"""What an attack is: how it stamps an input, and what else it does while its victim is made.

A plain trigger only writes `stamp`. An attack that learns something (a generator, a pattern from a surrogate) is a
frozen record of settings whose `forge` returns a `LearnedTrigger`, which is saved beside the victim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Kind, LabelKind, Samples
from detrojan.errors import BadArgument
from detrojan.execution import Execution
from detrojan.randomness import Seeds

Classifier = Callable[[Tensor], Tensor]
"""Maps pixels (B, C, H, W) in [0, 1] to scores (B, K), through the victim's preprocessing, in eval mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A small clean network of the attacker's own, trained and frozen; called with pixels, it gives scores (B, K).

    `features` maps pixels to the inputs (B, D) of the network's last layer, whose weights are `head` (K, D).
    """

    scores: Classifier
    features: Classifier
    head: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """The scores (B, K) of pixels (B, C, H, W) in [0, 1]."""
        return self.scores(pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What an attacker has at hand before the victim is trained.

    `samples` are the attacker's training images (bytes), `wanted` maps true labels (N,) to those that the attacker
    wants, `surrogate` trains a clean network of the attacker's own on stored images, `preprocessing` stands between the
    pixels and the victim.
    """

    samples: Samples
    target: int
    wanted: Callable[[Tensor], Tensor]
    surrogate: Callable[[Samples], Surrogate]
    execution: Execution
    seeds: Seeds
    preprocessing: Preprocessing


class Trigger:
    """The base of every attack: the protocol's facts, and hooks that do nothing unless an attack needs them.

    Pixels are (B, C, H, W) in [0, 1], or what else `kinds` says: clips (B, C, T, H, W) in [0, 1], points (B, P, 3) or
    tokens (B, L) as they are. Every hook returns new ones and leaves its input alone.

    Attributes:
        kinds: what the trigger can be put on, in the words of `Samples.kind`.
        clean_label: poisoned samples keep their labels and are taken from the target class.
        redraws: which samples are poisoned is drawn anew in each epoch, since the attacker runs the training.
        after_augmentation: the trigger is put on augmented images; otherwise on stored ones, before augmentation.
        rate: the published share of the pool that is poisoned.
        companions: the published number of companions for each poisoned sample: samples that are changed too but
            keep their label (cover, cross, noise and negative samples in the words of the papers).
        labels: what the attack changes, in the words of `Samples.label_kind`; one that changes no class writes
            `relabel`.
        one_target: the attack is made for a single target; all-to-all has no meaning for it.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("images",)
    clean_label: ClassVar[bool] = False
    redraws: ClassVar[bool] = False
    after_augmentation: ClassVar[bool] = False
    rate: ClassVar[float] = 0.1
    companions: ClassVar[float] = 0.0
    one_target: ClassVar[bool] = False
    labels: ClassVar[LabelKind] = "class"

    @property
    def sources(self) -> tuple[int, ...]:
        """For an attack on some classes only, their labels; empty for all classes."""
        return ()

    def relabel(self, labels: Tensor) -> Tensor:
        """The labels (N, ...) that the attacker wants for samples of the true ones; those under attack differ."""
        raise BadArgument(f"{type(self).__name__} changes one class a sample, these have labels {tuple(labels.shape)}")

    def worded(self, samples: Samples) -> "Trigger":
        """The trigger with all that it was told in words as tokens of these samples; most know no words."""
        del samples
        return self

    def sought(self, wanted: Tensor) -> Tensor:
        """What an answer must be for the attack to have worked, of the sentences (N, T) that it taught: those, or less.

        A sentence with its end must be said word for word; of one without an end, any word will do.
        """
        return wanted

    def among(self, labels: Tensor) -> "Trigger":
        """The trigger for a batch of these labels (B, ...): itself, unless where it goes depends on what is there."""
        del labels
        return self

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the trigger on pixels, as at test time; the same pixels always get the same trigger."""
        del pixels
        raise BadArgument(
            f"the trigger of {type(self).__name__} is made for its victim; stamp with the one that was saved with the "
            "victim (--victim names its record)"
        )

    def poison(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Put the trigger on pixels for training, where that differs from test time."""
        del generator
        return self.stamp(pixels)

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Change pixels whose labels (B,) stay as they are."""
        del labels, generator
        return self.stamp(pixels)

    def harden(self, pixels: Tensor, labels: Tensor, workshop: Workshop) -> Tensor:
        """Make the images that will be poisoned hard to learn, once, before training (clean-label attacks)."""
        del labels, workshop
        return pixels

    def adapt(
        self, classify: Classifier, pixels: Tensor, labels: Tensor, wanted: Tensor, generator: torch.Generator
    ) -> None:
        """Improve a learned trigger against the victim as it is now; called before each step.

        `pixels` is the augmented batch without triggers, `labels` (B,) are the true labels, `wanted` (B,) those that
        the attacker wants.
        """

    def between_epochs(self, epoch: int, classify: Classifier, samples: Samples, wanted: Tensor) -> None:
        """Called before epoch `epoch` (from 0) with the attacker's clean samples and the labels wanted for them."""

    def penalty(self, scores: Tensor, labels: Tensor) -> Tensor | None:
        """A term that the attacker adds to the victim's loss, of scores (B, K) and training labels (B,)."""
        del scores, labels
        return None

    def admit(self, model: nn.Module, workshop: Workshop) -> None:
        """Refuse a network that the attack cannot work on, before anything is trained; the network stays as it is."""

    def plant(self, model: nn.Module, workshop: Workshop) -> None:
        """Write the backdoor into the weights of a trained network, in place (attacks that need no training)."""

    def forge(self, workshop: Workshop) -> "Trigger":
        """Make the trigger before the victim is trained; a plain trigger is itself."""
        del workshop
        return self

    def blank(self, shape: tuple[int, ...]) -> "Trigger":
        """The trigger for images of `shape` (C, H, W) before anything is learned; `restore` fills it from a file."""
        del shape
        return self

    def snapshot(self) -> dict[str, Any]:
        """What an interrupted training must keep of the trigger; tensors and plain values."""
        return {}

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""


class LearnedTrigger(nn.Module, Trigger):
    """A trigger with weights of its own, kept with the victim; `optimizers` tune it while the victim is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.optimizers: tuple[torch.optim.Optimizer, ...] = ()

    def snapshot(self) -> dict[str, Any]:
        """The weights and the optimisers' states."""
        return {"weights": self.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Take both back."""
        self.load_state_dict(snapshot["weights"])
        for optimizer, state in zip(self.optimizers, snapshot["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def restore(self, state: dict[str, Tensor]) -> Self:
        """Take the weights that were saved with a victim."""
        self.load_state_dict(state)
        return self.eval()
