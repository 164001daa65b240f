"""The context that a defense works in, for tests of its pieces."""

import torch
from torch import nn

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.execution import Execution
from detrojan.randomness import Seeds
from detrojan.tasks.image import Image
from detrojan.tuning import Context, Meter


def context_of(network: nn.Module, seed: int = 0) -> Context:
    return Context(
        task=Image(padding=0, flip=False),
        preprocessing=Preprocessing(),
        execution=Execution.choose(network, "cpu", "fp32"),
        seeds=Seeds(seed=seed),
        meter=Meter(),
    )


def reds(count: int, size: int = 8) -> Samples:
    """Images of three classes; the class is the amount of red."""
    images = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % 3
    images[:, 0] = (labels * 100)[:, None, None]
    return Samples(inputs=images.to(torch.uint8), labels=labels)
