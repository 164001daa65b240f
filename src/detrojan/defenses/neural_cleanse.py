"""Neural Cleanse with unlearning: invert a small patch for each class; where one is oddly small, unlearn it.

Needs: labelled clean samples.
Serves: any image network; a class takes `steps` steps.
Source: Wang et al., "Neural Cleanse" (S&P 2019), nearly as BackdoorBench does it: the price of a mask changes after six
passes on one side, not five, and the search may end before it has gone both up and down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.inversion import Patch, flags, invert
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, sgd, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuralCleanse:
    """A patch is a mask (H, W) and a pattern (C, H, W). Without a flagged class the victim comes out as it is.

    Args:
        steps: of Adam at most, for each class; eighty passes over 500 samples.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam.
        success: the share of samples that a patch must send to its class; the price of its size follows.
        price: of the mask's sum, at first.
        patience: an inversion ends after so many passes without a smaller mask.
        anomaly: masks whose sum is this many scaled median deviations under the median flag their class.
        unlearning_steps: of SGD, with a flagged patch on a part of the inputs and their true labels.
        unlearning_rate: of SGD, falling by a cosine.
        stamped: that part, as a share.
    """

    steps: int = 320
    batch: int = 128
    learning_rate: float = 0.1
    success: float = 0.98
    price: float = 1e-3
    patience: int = 25
    anomaly: float = 2.0
    unlearning_steps: int = 80
    unlearning_rate: float = 0.01
    stamped: float = 0.2

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        context.need_pictures("neural_cleanse", clean)
        context.need_one_class("neural_cleanse")
        context.need_whole_weights("neural_cleanse")
        network = tunable(model, context).eval()
        classes = context.predict(network, clean.subset([0])).shape[1]
        patches = [
            invert(
                network,
                label,
                clean,
                context,
                steps=self.steps,
                batch=self.batch,
                learning_rate=self.learning_rate,
                success=self.success,
                price=self.price,
                patience=self.patience,
            )
            for label in range(classes)
        ]
        sizes = torch.tensor([float(patch.mask().detach().sum()) for patch in patches])
        flagged = flags(sizes, self.anomaly)
        notes: dict[str, float | int | str] = {
            "classes flagged": ", ".join(map(str, flagged)) or "none",
            "smallest mask": round(float(sizes.min()), 2),
            "median mask": round(float(sizes.median()), 2),
        }
        losses = [patch.last for patch in patches]
        if flagged:
            losses += self._unlearn(network, [patches[label] for label in flagged], clean, context)
        return Tuned(model=network, masks={}, losses=tuple(losses), notes=notes)

    def _unlearn(self, network: nn.Module, patches: Sequence[Patch], clean: Samples, context: Context) -> list[float]:
        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels = pixels_of(context.task.augment(inputs, generator))
            count = round(self.stamped * len(pixels))
            stamped = [
                patch.stamp(part) for patch, part in zip(patches, pixels[:count].chunk(len(patches)), strict=False)
            ]
            mixed = torch.cat([*stamped, pixels[count:]]).detach()
            return context.task.loss(context.forward(network, context.preprocessing(mixed)), labels).mean()

        return tune(
            objective,
            sgd(network.train(), self.unlearning_rate, momentum=0.9, weight_decay=5e-4),
            clean,
            context,
            steps=self.unlearning_steps,
            batch=self.batch,
            stage="Neural Cleanse unlearns",
            learning_rate=falling(self.unlearning_rate, self.unlearning_steps),
        )


METHOD = NeuralCleanse
