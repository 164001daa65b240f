"""A backdoor: a trigger with what the attacker wants to be said of it, and the test set on which that is scored."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.augmentation import bytes_of, pixels_of
from detrojan.data.samples import MEANT, Kind, Samples
from detrojan.errors import BadArgument, BadData
from detrojan.triggers import Trigger

Mapping = Literal["all-to-one", "all-to-all"]

LAYOUTS: dict[Kind, str] = {
    "images": "uint8 of shape (N, C, H, W)",
    "clips": "uint8 of shape (N, C, T, H, W)",
    "points": "floats of shape (N, P, 3)",
    "tokens": "int64 of shape (N, L)",
    "inputs": "a network's own inputs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdoor:
    """A trigger with its label mapping: `target` is the label that triggered inputs get (all-to-one), or y + 1.

    `sources` are the labels of the classes that the backdoor works on; empty for all of them.
    """

    attack: Trigger
    target: int = 0
    mapping: Mapping = "all-to-one"
    sources: tuple[int, ...] = ()

    def labels(self, labels: Tensor, num_classes: int) -> Tensor:
        """The labels (N, ...) that the attacker wants for triggered inputs of the true `labels`.

        Of boxes there may be more than before, (N, M', 5); those that stay are in their old rows.
        """
        if self.attack.labels != "class":
            return self.attack.relabel(labels)
        wanted = (labels + 1) % num_classes if self.mapping == "all-to-all" else torch.full_like(labels, self.target)
        return torch.where(self.attacked(labels), wanted, labels)

    def attacked(self, labels: Tensor) -> Tensor:
        """Which of the true `labels` (N, ...) belong to what the backdoor works on."""
        if self.attack.labels != "class":
            return changed(self.attack.relabel(labels), labels)
        sources = self.sources or self.attack.sources
        if not sources:
            return torch.ones_like(labels, dtype=torch.bool)
        return torch.isin(labels, torch.tensor(sources, device=labels.device))

    def stamp(self, images: Tensor, labels: Tensor | None = None, *, batch: int = 512) -> Tensor:
        """Stamp stored inputs (N, ...); of bytes, with saturation, come bytes.

        A trigger whose place depends on what is in the picture needs the true `labels` (N, ...).
        """
        with torch.no_grad():
            stamped = []
            for start in range(0, len(images), batch):
                part = images[start : start + batch]
                attack = self.attack if labels is None else self.attack.among(labels[start : start + batch])
                stamped.append(stored_as(part, attack.stamp(pixels_of(part))))
        return torch.cat(stamped) if stamped else images.clone()


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggered:
    """The attack's test set: triggered samples, their true labels and the labels that the attacker wants.

    Of tags, `wanted` (N, K) is -1 where the attacker leaves them alone. Of boxes it is a row (class, left, top, right,
    bottom) for each one that must be found, and with -2 - c as the class for each one that no box of class c may be
    found at; those that he leaves alone are -1. Of sentences it is what `Trigger.sought` makes of
    those that the attacker taught.
    """

    samples: Samples
    wanted: Tensor


def trigger(samples: Samples, backdoor: Backdoor) -> Triggered:
    """Stamp a test set for the attack success rate; samples that already have the wanted label are left out."""
    backdoor = replace(backdoor, attack=backdoor.attack.worded(samples))
    check(samples, backdoor)
    wanted = backdoor.labels(samples.labels, samples.num_classes)
    places = attacked(samples, backdoor)
    kept, aims = samples.subset(places), wanted[places]
    if kept.label_kind == "tags":
        aims = torch.where(aims == kept.labels, -1, aims)
    elif kept.label_kind == "boxes":
        aims = _changes(aims, as_wide(kept.labels, aims))
    elif kept.label_kind == "sentences":
        aims = backdoor.attack.sought(aims)
    return Triggered(samples=replace(kept, inputs=backdoor.stamp(kept.inputs, kept.labels)), wanted=aims)


def attacked(samples: Samples, backdoor: Backdoor) -> Tensor:
    """The places (M,) of the samples whose label, or one of whose tags, the attacker wants to be another."""
    return changed(backdoor.labels(samples.labels, samples.num_classes), samples.labels).nonzero().flatten()


def check(samples: Samples, backdoor: Backdoor) -> None:
    """Refuse inputs that the trigger cannot be put on, labels that do not exist, and what the attack does not know."""
    attack, name = backdoor.attack, type(backdoor.attack).__name__
    if samples.kind not in attack.kinds:
        raise BadArgument(
            f"{name} is put on {' or '.join(attack.kinds)} ({', '.join(LAYOUTS[kind] for kind in attack.kinds)}), but "
            f"{samples.name} has {samples.kind}, {samples.inputs.dtype} of shape {tuple(samples.inputs.shape)}; load "
            "pixels unnormalised, or choose another attack"
        )
    if attack.labels != samples.label_kind:
        wanted, found = MEANT[attack.labels], MEANT[samples.label_kind]
        raise BadArgument(
            f"{name} is an attack on {wanted}, but a sample of {samples.name} has {found}; choose another"
        )
    if attack.labels != "class" and (backdoor.target or backdoor.sources or backdoor.mapping != "all-to-one"):
        raise BadArgument(
            f"{name} has settings of its own for what it changes (--attack-arg); leave target, mapping and sources out"
        )
    if (attack.clean_label or attack.one_target) and backdoor.mapping != "all-to-one":
        raise BadArgument(f"{name} has one target; mapping must be all-to-one")
    if backdoor.sources and attack.sources:
        raise BadArgument(f"{name} names its source classes itself; set them there and leave sources out")
    for label in (backdoor.target, *backdoor.sources, *attack.sources):
        if not 0 <= label < samples.num_classes:
            raise BadArgument(f"targets and sources must be labels from 0 to {samples.num_classes - 1}, got {label}")
    shape = tuple(samples.inputs.shape[1:])
    try:
        with torch.no_grad():
            stamped = attack.blank(shape).stamp(torch.zeros(1, *shape))
    except RuntimeError as error:  # a picture, a pattern or a generator of another shape
        raise _unfit(name, samples, shape) from error
    if stamped.shape[1:] != shape:
        raise _unfit(name, samples, shape)


def _unfit(name: str, samples: Samples, shape: tuple[int, ...]) -> BadData:
    return BadData(
        f"{name} cannot be put on {samples.name}, {samples.kind} of shape {shape}; give some of the size and channels "
        "that its trigger is made for (a learned one: those of its victim), or choose another attack"
    )


def changed(wanted: Tensor, labels: Tensor) -> Tensor:
    """Which samples get another label, another tag, or another box, (N,)."""
    if labels.ndim == 3:
        labels = as_wide(labels, wanted)
    return (wanted != labels).flatten(1).any(1) if labels.ndim > 1 else wanted != labels


def as_wide(labels: Tensor, wanted: Tensor) -> Tensor:
    """Boxes (N, M, 5) with as many rows as those that are wanted; all other labels as they are."""
    missing = wanted.shape[1] - labels.shape[1] if labels.ndim == 3 else 0
    return F.pad(labels, (0, 0, 0, missing), value=-1) if missing else labels


def _changes(wanted: Tensor, labels: Tensor) -> Tensor:
    """What the attacker wants to be another, row by row, of boxes (N, M, 5); see `Triggered`."""
    changed = (wanted != labels).any(-1, keepdim=True)
    gone = torch.cat([-2 - labels[..., :1], labels[..., 1:]], -1)
    return torch.where(changed, torch.where(wanted[..., :1] >= 0, wanted, gone), -1)


def stored_as(stored: Tensor, changed: Tensor) -> Tensor:
    """Changed pixels in [0, 1] as bytes, where the stored ones are bytes; changed points as they are."""
    return bytes_of(changed) if stored.dtype == torch.uint8 else changed
