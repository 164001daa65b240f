"""NFT, neural mask fine-tuning, as its authors' code does it, with every ablation as a setting.

The masks sit on the weights of the norms; the loss is cross-entropy under MixUp plus (eta / N_c) sum |1 - m|; after
each SGD step mask l is clipped to [mu(l), 1] with mu(l) = alpha exp(-beta l), so that shallow layers are protected.

Needs: labelled clean samples.
Serves: any network with layers that can carry masks.
Source: Karim et al., "Augmented Neural Fine-Tuning for Efficient Backdoor Purification" (ECCV 2024), and its code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples
from detrojan.defenses._augmented import Augmentation, augmented_loss
from detrojan.defenses._floors import Floor, floors_of
from detrojan.errors import BadArgument
from detrojan.masks import Masks, Placement
from detrojan.tuning import Context, Objective, Tuned, tune
from detrojan.weight_tuning import reestimate, tunable, weights_of
from detrojan.wrappers import unwrap

PASSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NFT:
    """Settings, by default those of the authors' code (500 clean CIFAR-10 images, ResNet-18).

    Args:
        steps: gradient steps, in five passes over which the learning rate falls by a cosine.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD with `momentum`, in the first pass; `last_learning_rate` is the cosine's floor.
        regularizer: eta, the weight of sum |1 - m|; it is divided by the clean samples per class (at least 1).
        augmentation: what stands in for MixUp; weak crop and flip are always on. `none` is the ablation "w/o Aug".
        floor: the shape of mu(l); `alpha` is its height and `beta` the decay of the exponential. `none` is 0.
        placement: where masks sit, see `Masks`.
        mask_stem: also mask the stem's norm, which their code leaves plain: the first, if no number is in its name.
        count: what l counts: mask tensors (the code), or blocks (networks so deep that tensors would end the floor).
        statistics: batch norms use and re-estimate batch statistics as in the code, or stay frozen, or re-estimate
            once more on unmixed clean samples at the end.
        tune: the masks; or, as controls, all the weights under the same loss, or nothing but the norms' statistics.
        weight_learning_rate: the rate of the control that tunes weights.
    """

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 0.05
    last_learning_rate: float = 0.02
    momentum: float = 0.95
    regularizer: float = 0.001
    augmentation: Augmentation = "mixup"
    floor: Floor = "exponential"
    alpha: float = 0.8
    beta: float = 0.5
    placement: Placement = "auto"
    mask_stem: bool = False
    count: Literal["tensor", "block"] = "tensor"
    statistics: Literal["batch", "frozen", "recalibrate"] = "batch"
    tune: Literal["masks", "weights", "statistics"] = "masks"
    weight_learning_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise BadArgument(f"NFT needs steps >= 1 and batch >= 2, got {self.steps} and {self.batch}")
        if not 0 <= self.alpha <= 1:
            raise BadArgument(f"alpha, the height of the masks' floor, must lie in [0, 1], got {self.alpha}")

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has nothing that can carry a mask.
            Diverged: the loss became NaN or infinite.
        """
        if self.tune != "masks":
            return self._without_masks(model, clean, context)
        frozen = self.statistics == "frozen"
        where = None if self.mask_stem else _beyond_the_stem(model)
        masks = Masks(model, self.placement, statistics="frozen" if frozen else "batch", where=where)
        context.execution.place(masks).train()
        floors = floors_of(masks.levels(self.count), shape=self.floor, alpha=self.alpha, beta=self.beta)
        weight = drift_weight(self.regularizer, len(clean), clean.num_classes)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            drift = torch.stack([(1 - factor).abs().sum() for factor in masks.factors]).sum()
            return augmented_loss(self.augmentation, masks, context, inputs, labels, generator) + weight * drift

        optimizer = torch.optim.SGD(masks.factors, self.learning_rate, momentum=self.momentum)
        losses = self._run(objective, optimizer, clean, context, project=lambda: masks.clamp_(floors))
        if self.statistics == "recalibrate":
            reestimate(masks, clean, context, steps=max(1, self.steps // 10), batch=self.batch)
        return Tuned(model=masks.fold(), masks=masks.state(), losses=tuple(losses))

    def _without_masks(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """The controls: the same loss on all the weights, or on nothing while the norms see the mixed samples."""
        network = tunable(model, context)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            return augmented_loss(self.augmentation, network, context, inputs, labels, generator)

        optimizer = None
        if self.tune == "weights":
            optimizer = torch.optim.SGD(weights_of(network), self.weight_learning_rate, momentum=self.momentum)
        with torch.set_grad_enabled(optimizer is not None):
            losses = self._run(objective, optimizer, clean, context)
        return Tuned(model=network, masks={}, losses=tuple(losses))

    def _run(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer | None,
        clean: Samples,
        context: Context,
        project: Callable[[], None] | None = None,
    ) -> list[float]:
        def rate(step: int) -> float:
            first, last = self.learning_rate, self.last_learning_rate
            now = last + (first - last) * (1 + cos(pi * (step * PASSES // self.steps) / PASSES)) / 2
            return now * (self.weight_learning_rate / first if self.tune == "weights" else 1)

        return tune(
            *(objective, optimizer, clean, context),
            steps=self.steps,
            batch=self.batch,
            stage="NFT",
            learning_rate=rate,
            project=project,
        )


def drift_weight(regularizer: float, samples: int, classes: int) -> float:
    """The weight eta / N_c of sum |1 - m|, where N_c is the number of clean samples per class, at least 1."""
    return regularizer / max(1.0, samples / classes)


def _beyond_the_stem(model: nn.Module) -> Callable[[str, nn.Module], bool]:
    """Leave out the first norm where it stands before all stages (no numbered path, as in torchvision's `bn1`)."""
    network, _ = unwrap(model)
    norms = [name for name, module in network.named_modules() if "Norm" in type(module).__name__]
    stem = norms[0] if norms and not any(part.isdigit() for part in norms[0].split(".")) and len(norms) > 1 else None
    return lambda name, _: name != stem


METHOD = NFT
