"""What an attacker has at hand before the victim is trained, a small clean network of its own among it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from detrojan.backdoor import Backdoor
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Kind, Samples
from detrojan.execution import Execution
from detrojan.models.pointnet import pointnet
from detrojan.models.preact_resnet import preact_resnet18
from detrojan.models.r3d import r3d10
from detrojan.progress import OnStep
from detrojan.randomness import Seeds
from detrojan.recipe import Recipe
from detrojan.tasks import Task
from detrojan.training import Augmentation, classifier, fit
from detrojan.triggers import Surrogate, Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """The attacker's own network for some kind of samples, which ends in a linear layer `fc`, and how it is trained."""

    build: Callable[[Samples], nn.Module]
    recipe: Recipe


def _small_resnet(samples: Samples) -> nn.Module:
    return preact_resnet18(16, samples.num_classes, samples.inputs.shape[1])


def _small_pointnet(samples: Samples) -> nn.Module:
    return pointnet(16, samples.num_classes)


def _small_r3d(samples: Samples) -> nn.Module:
    return r3d10(8, samples.num_classes, samples.inputs.shape[1])


SURROGATES: dict[Kind, _Own] = {
    "images": _Own(build=_small_resnet, recipe=Recipe(epochs=4, batch=128, learning_rate=0.4, padding=0, small=0.5)),
    "points": _Own(build=_small_pointnet, recipe=Recipe(epochs=4, batch=32, learning_rate=0.05)),
    "clips": _Own(build=_small_r3d, recipe=Recipe(epochs=30, batch=16, learning_rate=0.05, weight_decay=5e-3)),
}


def workshop_of(
    samples: Samples,
    backdoor: Backdoor,
    task: Task,
    preprocessing: Preprocessing,
    execution: Execution,
    seeds: Seeds,
    on_step: OnStep | None,
    state: Path | None = None,
) -> Workshop:
    """The attacker's means; a surrogate is a small network trained for a few epochs on clean samples."""

    def surrogate(part: Samples) -> Surrogate:
        own = SURROGATES[samples.kind]
        with seeds.seeded("surrogate weights"):
            network = own.build(samples)
        chosen = Execution.choose(network, str(execution.device), "bf16" if execution.bf16 else "fp32")
        fit(
            network,
            part,
            preprocessing=preprocessing,
            recipe=own.recipe,
            execution=chosen,
            seed=seeds.number("surrogate") % 2**31,
            on_step=on_step,
            stage="training the attacker's surrogate",
            state=state,
            augment=augmentation_of(samples, task),
            task=task,
        )
        network.requires_grad_(requires_grad=False)
        headless = deepcopy(network)
        headless.set_submodule("fc", nn.Identity())
        return Surrogate(
            scores=classifier(network, preprocessing, chosen),
            features=classifier(headless, preprocessing, chosen),
            head=network.get_parameter("fc.weight"),
        )

    return Workshop(
        samples=samples,
        target=backdoor.target,
        wanted=lambda labels: backdoor.labels(labels, samples.num_classes),
        surrogate=surrogate,
        execution=execution,
        seeds=seeds,
        preprocessing=preprocessing,
    )


def augmentation_of(samples: Samples, task: Task) -> Augmentation | None:
    """The task's, where the recipe's crop and flip have no meaning, or would leave boxes behind."""
    moved = samples.kind in ("images", "clips") and samples.label_kind != "boxes"
    return None if moved else task.augment
