"""The one training loop: victims, teachers and fine-tuning all use it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import crop_and_flip
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData
from detrojan.execution import Execution
from detrojan.randomness import Seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of anything that lasts: `index` of `total` steps done, the loss of the last one, what is being done."""

    index: int
    total: int
    loss: float
    stage: str


OnStep = Callable[[Step], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle learning rate (linear up for `warmup` of the steps, linear to 0).

    `padding` is that of the random crop, in pixels; 0 with `flip` False trains without augmentation. The first
    `small` of the epochs (a share in [0, 1]) see images of three quarters of the side, which costs about half.
    """

    epochs: int = 16
    batch: int = 256
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup: float = 0.2
    padding: int = 2
    flip: bool = True
    small: float = 0.0


def fit(
    model: nn.Module,
    samples: Samples,
    *,
    preprocessing: Preprocessing,
    recipe: Recipe,
    execution: Execution,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> list[float]:
    """Train a network that the caller owns, in place, on stored images; returns the mean loss of each epoch.

    The data lie on the device and are augmented there in batches. The last, smaller batch of an epoch is dropped
    unless it is the only one.

    Raises:
        BadData: fewer than two samples.
        BadArgument: the loss became NaN or infinite.
    """
    if len(samples) < 2:
        raise BadData(f"training needs at least two samples, got {len(samples)}")
    seeds = Seeds(seed=seed)
    generator = seeds.generator("batches", execution.device)
    images, labels = samples.inputs.to(execution.device), samples.labels.to(execution.device)
    per_epoch = max(1, len(samples) // recipe.batch)
    total = recipe.epochs * per_epoch
    execution.place(model).train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step, total, recipe.warmup))
    losses: list[float] = []
    with seeds.seeded("dropout"):
        for epoch in range(recipe.epochs):
            epoch_losses = []
            for chosen in _batches(len(samples), recipe.batch, generator):
                cropped = crop_and_flip(images[chosen], generator, padding=recipe.padding, flip=recipe.flip)
                inputs = preprocessing(cropped)
                if epoch < recipe.small * recipe.epochs:
                    inputs = F.interpolate(inputs, scale_factor=0.75, mode="bilinear", antialias=True)
                with execution.running():
                    outputs = model(execution.send(inputs)).float()
                loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                epoch_losses.append(loss.detach())
                if on_step is not None:
                    on_step(
                        Step(
                            index=epoch * per_epoch + len(epoch_losses),
                            total=total,
                            loss=float(loss.detach()),
                            stage="training",
                        )
                    )
            losses.append(float(torch.stack(epoch_losses).mean()))
            if not torch.isfinite(epoch_losses[-1]):
                raise BadArgument(
                    f"training diverged in epoch {epoch + 1}; use a lower learning rate than {recipe.learning_rate}"
                )
    model.eval()
    return losses


def _one_cycle(step: int, total: int, warmup: float) -> float:
    rise = max(1, ceil(warmup * total))
    return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator, device=generator.device)
    yield from order.split(size)[: max(1, count // size)]
