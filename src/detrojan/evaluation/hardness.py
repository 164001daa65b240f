"""Is the backdoor gone, or asleep? What an attacker who knows the trigger can do to a purified network.

Source: Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor Defense" (NeurIPS 2024).
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.backdoor import Backdoor, Triggered, trigger
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadData
from detrojan.evaluation.protocol import evaluate
from detrojan.execution import Execution
from detrojan.intervals import Estimate
from detrojan.randomness import Seeds
from detrojan.recipe import Recipe
from detrojan.training import classifier, fit

BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardness:
    """Attack success rates after two ways to wake a backdoor.

    `retuned` after a few epochs on clean images among which a few are poisoned; `reactivated` under the trigger with
    one small perturbation for all images on top. `perturbed` is what the same search reaches on images without the
    trigger: a weakness of any network, which is no backdoor.
    """

    retuned: Estimate
    reactivated: Estimate
    perturbed: Estimate


def hardness(
    model: nn.Module,
    seen: Samples,
    test: Samples,
    backdoor: Backdoor,
    *,
    preprocessing: Preprocessing,
    device: str = "auto",
    seed: int = 0,
) -> Hardness:
    """Try both on a network, which stays as it is.

    Args:
        model: the purified network.
        seen: images that the attacker has; the victim's training images.
        test: test images.
        backdoor: the trigger, with the target.
        preprocessing: what stands between the images and the network.
        device: `auto`, `cpu`, `cuda`, ...
        seed: draws the images, the batches and the order.
    """
    execution = Execution.choose(model, device)
    triggered = trigger(test, backdoor)
    retuned = retune(model, seen, backdoor, preprocessing=preprocessing, execution=execution, seed=seed)
    delta = reactivate(model, seen, backdoor, preprocessing=preprocessing, execution=execution, seed=seed)
    plain = reactivate(
        model, seen, backdoor, preprocessing=preprocessing, execution=execution, seed=seed, stamped=False
    )
    unstamped = Triggered(samples=test.subset(_scored(test, backdoor)), wanted=triggered.wanted)

    def asr(network: nn.Module, attacked: Triggered) -> Estimate:
        found = evaluate(network, test, attacked, preprocessing=preprocessing, device=device).asr
        assert found is not None  # the scores were made with a trigger
        return found

    return Hardness(
        retuned=asr(retuned, triggered),
        reactivated=asr(model, _moved(triggered, delta)),
        perturbed=asr(model, _moved(unstamped, plain)),
    )


def retune(
    model: nn.Module,
    seen: Samples,
    backdoor: Backdoor,
    *,
    preprocessing: Preprocessing,
    execution: Execution,
    seed: int = 0,
    poisoned: int = 5,
    clean: int = 500,
    epochs: int = 5,
    learning_rate: float = 0.01,
) -> nn.Module:
    """A copy of the network, tuned on `clean` images and `poisoned` triggered ones (published: 5, for 5 epochs)."""
    order = torch.randperm(len(seen), generator=Seeds(seed=seed).generator("retuning images"))
    pool = seen.subset(order)
    wanted = backdoor.labels(pool.labels, pool.num_classes)
    attacked = (wanted != pool.labels).nonzero().flatten()[:poisoned]
    if not len(attacked):
        raise BadData(f"{seen.name} has no image whose label the attack changes; retuning needs some")
    rest = torch.ones(len(pool), dtype=torch.bool)
    rest[attacked] = False
    kept = rest.nonzero().flatten()[:clean]
    mixed = Samples(
        inputs=torch.cat([pool.inputs[kept], backdoor.stamp(pool.inputs[attacked])]),
        labels=torch.cat([pool.labels[kept], wanted[attacked]]),
        class_names=pool.class_names,
        name=f"{len(kept)} clean and {len(attacked)} poisoned of {seen.name}",
    )
    network = copy.deepcopy(model)
    recipe = Recipe(epochs=epochs, batch=min(BATCH, len(mixed)), learning_rate=learning_rate, padding=0, warmup=0.0)
    fit(network, mixed, preprocessing=preprocessing, recipe=recipe, execution=execution, seed=seed, stage="retuning")
    return network.to("cpu")


def reactivate(
    model: nn.Module,
    seen: Samples,
    backdoor: Backdoor,
    *,
    preprocessing: Preprocessing,
    execution: Execution,
    seed: int = 0,
    stamped: bool = True,
    eps: float = 8 / 255,
    images: int = 256,
    steps: int = 40,
) -> Tensor:
    """One perturbation (C, H, W) within `eps` that leads triggered images (or plain ones) to the wanted label.

    Signed gradient steps on `images` of the attacker's images. The published search asks the network for answers only;
    ours sees its gradients, and is the stronger for it.
    """
    order = torch.randperm(len(seen), generator=Seeds(seed=seed).generator("reactivation images"))
    pool = seen.subset(order[: 4 * images])
    chosen = pool.subset(_scored(pool, backdoor)[:images])
    wanted = backdoor.labels(chosen.labels, seen.num_classes).to(execution.device)
    inputs = backdoor.stamp(chosen.inputs) if stamped else chosen.inputs
    pixels = inputs.to(execution.device).float() / 255
    network = execution.place(copy.deepcopy(model)).eval().requires_grad_(requires_grad=False)
    classify = classifier(network, preprocessing, execution)
    delta = torch.zeros_like(pixels[0])
    for step in range(steps):
        part = torch.arange(step * BATCH, (step + 1) * BATCH, device=pixels.device) % len(pixels)
        moved = delta.detach().requires_grad_()
        loss = F.cross_entropy(classify((pixels[part] + moved).clamp(0, 1)), wanted[part])
        (slope,) = torch.autograd.grad(loss, moved)
        delta = (moved.detach() - 2.5 * eps / steps * slope.sign()).clamp(-eps, eps)
    return delta.cpu()


def _scored(samples: Samples, backdoor: Backdoor) -> Tensor:
    return (backdoor.labels(samples.labels, samples.num_classes) != samples.labels).nonzero().flatten()


def _moved(triggered: Triggered, delta: Tensor) -> Triggered:
    moved = (triggered.samples.inputs.float() / 255 + delta).clamp(0, 1)
    inputs = (moved * 255).round().to(torch.uint8)
    samples = triggered.samples
    return Triggered(
        samples=Samples(inputs=inputs, labels=samples.labels, class_names=samples.class_names, name=samples.name),
        wanted=triggered.wanted,
    )
