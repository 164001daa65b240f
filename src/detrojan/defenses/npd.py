"""NPD, neural polarizer: one linear map inside the network that filters the trigger's features out.

Needs: labelled clean samples.
Serves: networks with ungrouped convolutions over images.
Source: Zhu et al., "Neural Polarizer" (NeurIPS 2023), as BackdoorBench does it (samples are not augmented). There the
map is a 1 x 1 convolution with a batch norm, a layer of its own; here it has no norm (BackdoorBench's `onlyconv`), so
that it folds into the convolution behind it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, Unsupported
from detrojan.functional import Replaced, constant
from detrojan.perturbations import ascended, limits, not_given
from detrojan.tracing import order_of_convolutions
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import plain_weight, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class NPD:
    """The map (C, C) starts as the identity; all weights stay. The norms keep their statistics.

    Args:
        steps: gradient steps after the warm-up; fifty passes over 500 samples.
        warmup: steps at a hundredth of the learning rate, on the task's loss alone.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD with momentum 0.9.
        bound: the largest Euclidean length of the perturbation of an input, in the unit of the pixels.
        inner_steps: of finding it.
        inner_rate: the change of every pixel in each of its steps.
        weight: of each of the three further losses.
        layer: the convolution in front of which the map stands; empty takes the last but one that runs.
    """

    steps: int = 200
    warmup: int = 20
    batch: int = 128
    learning_rate: float = 0.01
    bound: float = 3.0
    inner_steps: int = 2
    inner_rate: float = 0.1
    weight: float = 0.4
    layer: str = ""

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has no convolution that the map could fold into.
            BadArgument: there is no convolution of the name in `layer`.
            Diverged: the loss became NaN or infinite.
        """
        context.need_numbers("npd", clean)
        context.need_one_class("npd")
        context.need_whole_weights("npd")
        network = tunable(model, context).eval()
        place = self._place(network, clean, context)
        kernel = network.get_parameter(f"{place}.weight").detach()
        polarizer = torch.eye(kernel.shape[1], device=kernel.device, requires_grad=True)
        clip, fixed = limits(clean), constant(network).tensors

        def folded() -> Tensor:
            return torch.einsum("ocij,cd->odij", kernel, polarizer)

        def scores_of(pixels: Tensor) -> Tensor:
            polarized = Replaced(network, {**fixed, f"{place}.weight": folded()})
            return context.task.logits(context.forward(polarized, context.preprocessing(pixels)))

        def warm_up(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del generator
            return F.cross_entropy(scores_of(pixels_of(inputs)), labels)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del generator
            pixels = pixels_of(inputs)
            calm = scores_of(pixels)
            runner_up = calm.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
            perturbed = ascended(
                lambda moved: -F.cross_entropy(scores_of(moved), runner_up, reduction="sum"),
                pixels,
                context,
                start=torch.zeros_like(pixels),
                steps=self.inner_steps,
                step_size=self.inner_rate,
                bound=self.bound,
                norm="l2",
                clip=clip,
            )
            moved = scores_of(perturbed)
            wrong = moved.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
            away = not_given(moved, wrong).mean() + not_given(moved, runner_up).mean()
            kept = F.cross_entropy(moved, calm.detach().argmax(1))
            return F.cross_entropy(calm, labels) + self.weight * (kept + away)

        optimizer = torch.optim.SGD([polarizer], self.learning_rate, momentum=0.9, weight_decay=5e-4)
        losses = list[float]()
        for stage, loss, steps, share in (
            ("NPD warms up", warm_up, self.warmup, 0.01),
            ("NPD", objective, self.steps, 1),
        ):
            losses += tune(
                loss,
                optimizer,
                clean,
                context,
                steps=steps,
                batch=self.batch,
                stage=stage,
                learning_rate=lambda _, share=share: share * self.learning_rate,  # type: ignore[misc]
            )
        with torch.no_grad():
            network.get_parameter(f"{place}.weight").copy_(folded())
        return Tuned(model=network, masks={}, losses=tuple(losses), notes={"layer": place})

    def _place(self, network: nn.Module, clean: Samples, context: Context) -> str:
        found = [
            name
            for name in order_of_convolutions(network, clean, context)
            if isinstance(layer := network.get_submodule(name), nn.Conv2d) and layer.groups == 1 and plain_weight(layer)
        ]
        if not found:
            raise Unsupported(
                "npd folds a map into the plain weight of a convolution over images, and there is none; use fine_tuning"
            )
        if self.layer and self.layer not in found:
            raise BadArgument(f"layer {self.layer!r} is no convolution of this network; those are {', '.join(found)}")
        return self.layer or found[-2:][0]


METHOD = NPD
