"""The poisoning protocol: which training samples carry the trigger, which label they get, and who is scored.

Source of the conventions: BackdoorBench and the NFT code, which differ in the pool that is drawn from.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds

Mapping = Literal["all-to-one", "all-to-all"]
Pool = Literal["non-target", "all"]


class Attack(Protocol):
    """What an attack must be able to do."""

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the trigger on pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdoor:
    """An attack with its label mapping: `target` is the label that triggered inputs get (all-to-one), or y + 1."""

    attack: Attack
    target: int = 0
    mapping: Mapping = "all-to-one"

    def labels(self, labels: Tensor, num_classes: int) -> Tensor:
        """The labels (N,) that the attacker wants for triggered inputs of the true `labels` (N,)."""
        if self.mapping == "all-to-all":
            return (labels + 1) % num_classes
        return torch.full_like(labels, self.target)

    def stamp(self, images: Tensor, *, batch: int = 512) -> Tensor:
        """Stamp stored uint8 images (N, C, H, W), with saturation; returns uint8."""
        stamped = [_to_bytes(self.attack.stamp(part.float() / 255)) for part in images.split(batch)]
        return torch.cat(stamped) if stamped else images.clone()


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggered:
    """The attack's test set: triggered images, their true labels and the labels the attacker wants."""

    samples: Samples
    wanted: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """A training set with poison in it, and the indices (sorted) of the poisoned samples."""

    samples: Samples
    indices: Tensor


def poison(samples: Samples, backdoor: Backdoor, *, rate: float, pool: Pool = "non-target", seed: int = 0) -> Poisoned:
    """Stamp and relabel a share of a training set.

    Args:
        samples: stored uint8 images; not changed.
        backdoor: the attack, its target and its label mapping.
        rate: the share in [0, 1] of the pool that is poisoned.
        pool: `non-target` draws from the samples whose label the attack changes (NFT's code), `all` from every
            sample (BackdoorBench).
        seed: draws the poisoned samples.

    Raises:
        BadArgument: the rate or the target is out of range, or the images are not uint8.
    """
    if not 0 <= rate <= 1:
        raise BadArgument(f"the poison rate must lie in [0, 1], got {rate}")
    _check(samples, backdoor)
    wanted = backdoor.labels(samples.labels, samples.num_classes)
    candidates = (wanted != samples.labels).nonzero().flatten() if pool == "non-target" else torch.arange(len(samples))
    order = torch.randperm(len(candidates), generator=Seeds(seed=seed).generator("poisoned samples"))
    indices = candidates[order[: round(rate * len(candidates))]].sort().values
    images, labels = samples.inputs.clone(), samples.labels.clone()
    images[indices] = backdoor.stamp(images[indices])
    labels[indices] = wanted[indices]
    return Poisoned(samples=replace(samples, inputs=images, labels=labels), indices=indices)


def trigger(samples: Samples, backdoor: Backdoor) -> Triggered:
    """Stamp a test set for the attack success rate; samples that already have the wanted label are left out."""
    _check(samples, backdoor)
    wanted = backdoor.labels(samples.labels, samples.num_classes)
    scored = (wanted != samples.labels).nonzero().flatten()
    kept = samples.subset(scored)
    return Triggered(samples=replace(kept, inputs=backdoor.stamp(kept.inputs)), wanted=wanted[scored])


def _check(samples: Samples, backdoor: Backdoor) -> None:
    if samples.inputs.dtype != torch.uint8:
        raise BadArgument(
            f"triggers are stamped on uint8 pixels, got {samples.inputs.dtype}; load the images unnormalised"
        )
    if not 0 <= backdoor.target < samples.num_classes:
        raise BadArgument(f"the target must be a label from 0 to {samples.num_classes - 1}, got {backdoor.target}")


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
