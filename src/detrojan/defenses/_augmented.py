"""NFT's loss on clean samples under MixUp, or under what an ablation puts in its place."""

from typing import Literal

from torch import Generator, Tensor, nn

from detrojan import augmentation as augment
from detrojan.tuning import Context

Augmentation = Literal["mixup", "none", "cutmix", "cutout", "randaugment", "augmix"]


def augmented_loss(
    kind: Augmentation, network: nn.Module, context: Context, inputs: Tensor, labels: Tensor, generator: Generator
) -> Tensor:
    """The task's loss on stored inputs, a scalar; weak crop and flip are always on."""
    if kind in ("randaugment", "augmix"):
        strong = augment.randaugment if kind == "randaugment" else augment.augmix
        inputs = strong(inputs, generator)
    prepared = context.preprocessing(context.task.augment(inputs, generator))
    if kind == "cutout":
        prepared = augment.cutout(prepared, generator)
    if kind in ("mixup", "cutmix"):
        mix = context.task.mixup if kind == "mixup" else augment.cutmix
        mixed = mix(prepared, generator)
        outputs = context.forward(network, mixed.inputs)
        return mixed.loss(context.task.loss(outputs, labels), context.task.loss(outputs, labels[mixed.partner]))
    return context.task.loss(context.forward(network, prepared), labels).mean()
