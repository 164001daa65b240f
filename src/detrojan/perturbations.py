"""Perturbations of inputs: one for all of them, or one each. They work on pixels, before preprocessing."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.tuning import Context, tune


def limits(samples: Samples) -> tuple[float, float]:
    """The range of pixels: [0, 1] of stored bytes; that of the samples, where they are floats."""
    if not samples.inputs.is_floating_point():
        return 0.0, 1.0
    return float(samples.inputs.min()), float(samples.inputs.max())


def universal(
    network: nn.Module,
    clean: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    penalty: float = 0.0,
    clip: tuple[float, float] | None = None,
    stage: str,
) -> Tensor:
    """One perturbation (C, H, W), or of whatever shape an input has, that turns many away from the network's answers.

    SGD ascends the task's loss against those answers, less `penalty` times the squared length; `clip` keeps the
    perturbed pixels in a range. The network is used in the mode that it is in.
    """
    shift = torch.zeros(clean.inputs.shape[1:], device=context.execution.device, requires_grad=True)

    def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        del labels
        pixels = pixels_of(context.task.augment(inputs, generator))
        with torch.no_grad():
            answers = context.task.predict(context.forward(network, context.preprocessing(pixels)))
        shifted = pixels + shift if clip is None else (pixels + shift).clamp(*clip)
        outputs = context.forward(network, context.preprocessing(shifted))
        return penalty * shift.square().sum() - context.task.loss(outputs, answers).mean()

    optimizer = torch.optim.SGD([shift], learning_rate)
    tune(objective, optimizer, clean, context, steps=steps, batch=batch, stage=stage)
    return shift.detach()


def ascended(
    gain: Callable[[Tensor], Tensor],
    pixels: Tensor,
    context: Context,
    *,
    start: Tensor,
    steps: int,
    step_size: float,
    bound: float,
    norm: Literal["linf", "l2"],
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """Perturb each of the pixels (B, C, H, W) so that a scalar gain grows, along the sign of its gradient.

    After each step the perturbation is brought back to at most `bound` in every pixel (`linf`) or in length (`l2`).
    `clip` keeps the perturbed pixels in a range; one that is out of it has no gradient, so that a `start` other than
    nothing wants no clip.
    """

    def kept(shifted: Tensor) -> Tensor:
        return shifted if clip is None else shifted.clamp(*clip)

    shift = start
    for _ in range(steps):
        shift = shift.detach().requires_grad_(True)
        (slope,) = context.gradients(gain(kept(pixels + shift)), [shift])
        with torch.no_grad():
            shift = shift + step_size * slope.sign()
            short = (bound / _length(shift)).clamp(max=1.0)
            shift = shift.clamp(-bound, bound) if norm == "linf" else shift * short
    return kept(pixels + shift.detach())


def not_given(scores: Tensor, label: Tensor) -> Tensor:
    """-log(1 - p) of a label (B,) that should not be given, for each of the scores (B, K)."""
    given = scores.softmax(1).gather(1, label[:, None]).squeeze(1)
    return -torch.log1p(-given.clamp(max=1 - 1e-6))


def _length(batch: Tensor) -> Tensor:
    """The Euclidean length of each, (B, 1, 1, 1)."""
    return batch.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *(1,) * (batch.ndim - 1))
