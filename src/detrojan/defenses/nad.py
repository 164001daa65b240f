"""NAD, neural attention distillation: the victim learns to look where a fine-tuned copy of itself looks.

Needs: labelled clean samples.
Serves: networks with maps (B, C, H, W) inside.
Source: Li et al., "Neural Attention Distillation" (ICLR 2021) and its code, without its Cutout.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.tracing import stages, watched
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import falling, fine_tune, sgd, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class NAD:
    """Cross-entropy plus, at the end of each of the last stages, the distance of attention maps.

    Args:
        steps: of the distillation.
        teacher_steps: of the fine-tuning that makes the teacher.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD, falling by a cosine, as in BackdoorBench; the authors begin at 0.1.
        teacher_learning_rate: of the fine-tuning, falling by a cosine.
        weight_decay: of both.
        weights: of the distances, for the last stages, in the order in which they run.
    """

    steps: int = 300
    teacher_steps: int = 150
    batch: int = 64
    learning_rate: float = 0.01
    teacher_learning_rate: float = 0.01
    weight_decay: float = 1e-4
    weights: tuple[float, ...] = (500.0, 1000.0, 1000.0)

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: no layer puts out a map.
            Diverged: the loss became NaN or infinite.
        """
        context.need_one_process("nad", "looks inside the network")
        teacher, student = tunable(model, context), tunable(model, context)
        names = stages(student, clean, context)[-len(self.weights) :]
        if not names:
            raise Unsupported("nad compares maps (B, C, H, W), and no layer puts one out; use fine_tuning")
        teaching = fine_tune(
            teacher,
            clean,
            context,
            steps=self.teacher_steps,
            batch=self.batch,
            learning_rate=self.teacher_learning_rate,
            weight_decay=self.weight_decay,
            stage="NAD's teacher",
        )
        teacher.eval()
        pairs = [(student.get_submodule(name), teacher.get_submodule(name)) for name in names]
        weights = self.weights[-len(names) :]

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            prepared = context.preprocessing(context.task.augment(inputs, generator))
            with watched([layer for pair in pairs for layer in pair]) as seen:
                with torch.no_grad():
                    context.forward(teacher, prepared)
                outputs = context.forward(student, prepared)
            distances = [F.mse_loss(attention(seen[mine]), attention(seen[theirs])) for mine, theirs in pairs]
            drawn = torch.stack([weight * each for weight, each in zip(weights, distances, strict=True)]).sum()
            return context.task.loss(outputs, labels).mean() + drawn

        losses = tune(
            objective,
            sgd(student, self.learning_rate, momentum=0.9, weight_decay=self.weight_decay),
            clean,
            context,
            steps=self.steps,
            batch=self.batch,
            stage="NAD",
            learning_rate=falling(self.learning_rate, self.steps),
        )
        return Tuned(model=student, masks={}, losses=(*teaching, *losses))


def attention(maps: Tensor) -> Tensor:
    """Where maps (B, C, H, W) are strong: the sum of squares over channels, of unit length over space, (B, H, W)."""
    strength = maps.float().square().sum(1)
    return strength / (strength.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-6)


METHOD = NAD
