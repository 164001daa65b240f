"""The poisoning protocol: which training samples carry the trigger, which label they get, and who is scored.

Source of the conventions: BackdoorBench and the NFT code, which differ in the pool that is drawn from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.augmentation import bytes_of, pixels_of
from detrojan.data.samples import Kind, LabelKind, Samples
from detrojan.errors import BadArgument, BadData
from detrojan.execution import resident
from detrojan.randomness import Seeds
from detrojan.tasks import Task
from detrojan.triggers import Classifier, Trigger, Workshop

Mapping = Literal["all-to-one", "all-to-all"]
Pool = Literal["auto", "non-target", "target", "all"]

CLEAN, POISON, COMPANION = 0, 1, 2
MEANT: dict[LabelKind, str] = {
    "class": "one class",
    "tags": "a row of tags",
    "boxes": "boxes",
    "sentences": "a sentence that answers",
}
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
            return _changed(self.attack.relabel(labels), labels)
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


Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """All samples on the device of a training; the images where they are if it has no room for them."""

    images: Tensor
    labels: Tensor
    wanted: Tensor
    roles: Tensor


class PoisonedFeed:
    """A training set under attack, batch by batch; the stored samples are never changed.

    Args:
        samples: stored images or clips (uint8), or points.
        backdoor: the attack, its target and its label mapping.
        rate: the share in [0, 1] of the pool that is poisoned.
        pool: `non-target` draws from the samples whose label the attack changes (NFT's code), `all` from every
            sample (BackdoorBench), `target` from the target class; `auto` is `target` for a clean-label attack,
            `non-target` for others.
        companions: how many samples for each poisoned one accompany it, with their own labels; None takes the
            published number.
        seed: draws who is poisoned and who accompanies.

    Raises:
        BadArgument: the rate, the target or the pool is out of range, or the trigger is not made for such inputs.
        BadData: the pool is too small for a single poisoned sample.
    """

    def __init__(
        self,
        samples: Samples,
        backdoor: Backdoor,
        *,
        rate: float,
        pool: Pool = "auto",
        companions: float | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= rate <= 1:
            raise BadArgument(f"the poison rate must lie in [0, 1], got {rate}")
        if rate > 0 and backdoor.attack.rate == 0:
            raise BadArgument(
                f"{type(backdoor.attack).__name__} poisons no samples, its backdoor is written into the weights; leave "
                f"the poison rate out, got {rate}"
            )
        if companions is not None and not 0 <= companions < float("inf"):
            raise BadArgument(f"companions must be a number from 0 for each poisoned sample, got {companions}")
        backdoor = replace(backdoor, attack=backdoor.attack.worded(samples))
        check(samples, backdoor)
        self.backdoor, self.seeds = backdoor, Seeds(seed=seed)
        self.wanted = backdoor.labels(samples.labels, samples.num_classes)
        self.samples = samples = replace(samples, labels=_as_wide(samples.labels, self.wanted))
        self.candidates = self._pool(pool)
        self.count = round(rate * len(self.candidates))
        if rate > 0 and self.count == 0:
            raise BadData(
                f"{samples.name}: a poison rate of {rate} of a pool of {len(self.candidates)} samples is no sample at "
                "all; raise the rate or give more samples of the classes under attack"
            )
        each = backdoor.attack.companions if companions is None else companions
        self.companions = min(round(each * self.count), len(samples) - self.count)
        self.images = samples.inputs
        self.roles = self._draw(0)
        self._classify: Classifier | None = None
        self._stored: _Stored | None = None
        self.name = (
            f"{len(samples)} of {samples.name}, {backdoor}, {self.count} poisoned of {len(self.candidates)}, "
            f"{self.companions} companions, seed {seed}"
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def indices(self) -> Tensor:
        """The poisoned samples of this epoch, sorted."""
        return (self.roles == POISON).nonzero().flatten()

    def begin(self, epoch: int, classify: Classifier) -> None:
        """Start an epoch: draw anew where the attack does, and let a learned trigger prepare."""
        self._classify = classify
        if self.backdoor.attack.redraws:
            self.roles = self._draw(epoch)
            if self._stored is not None:
                self._stored = replace(self._stored, roles=self.roles.to(self._stored.roles.device))
        self.backdoor.attack.between_epochs(epoch, classify, self.samples, self.wanted)

    def batch(self, chosen: Tensor, augment: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The stored inputs (B, ...) of these samples, augmented and under attack, and their labels (B,)."""
        attack, stored = self.backdoor.attack, self._on(generator.device)
        images = stored.images[chosen.to(stored.images.device)].to(generator.device)
        labels, wanted, roles = stored.labels[chosen], stored.wanted[chosen], stored.roles[chosen]
        if attack.after_augmentation:
            images = augment(images)
        if self._classify is not None:
            attack.adapt(self._classify, pixels_of(images), labels, wanted, generator)
        under_attack = self._attacked(images, labels, roles, generator)
        labels = torch.where((roles == POISON).view(-1, *[1] * (labels.ndim - 1)), wanted, labels)
        return (under_attack if attack.after_augmentation else augment(under_attack)), labels

    def penalty(self, task: Task, outputs: Any, labels: Tensor) -> Tensor | None:
        """What the attacker adds to the loss."""
        return self.backdoor.attack.penalty(task.logits(outputs), labels) if task.labels == "class" else None

    def harden(self, workshop: Workshop) -> None:
        """Let a clean-label attack change its images before training."""
        indices = self.indices
        pixels, labels = pixels_of(self.images[indices]), self.samples.labels[indices]
        hardened = self.backdoor.attack.harden(pixels, labels, workshop)
        if hardened is not pixels:
            self.images = self.images.clone()
            self.images[indices] = stored_as(self.images, hardened).cpu()
            self._stored = None

    def snapshot(self) -> dict[str, Any]:
        """Who is poisoned, the hardened images and the trigger's weights."""
        hardened = self.images[self.indices] if self.images is not self.samples.inputs else None
        return {"roles": self.roles, "hardened": hardened, "trigger": self.backdoor.attack.snapshot()}

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Take all of it back."""
        self.roles, self._stored = snapshot["roles"], None
        if snapshot["hardened"] is not None:
            self.images = self.images.clone()
            self.images[self.indices] = snapshot["hardened"]
        self.backdoor.attack.resume(snapshot["trigger"])

    def _on(self, device: torch.device) -> "_Stored":
        """What batches are drawn from, sent to the device once."""
        if self._stored is None or self._stored.labels.device.type != device.type:
            self._stored = _Stored(
                images=resident(self.images, device),
                labels=self.samples.labels.to(device),
                wanted=self.wanted.to(device),
                roles=self.roles.to(device),
            )
        return self._stored

    def _attacked(self, images: Tensor, labels: Tensor, roles: Tensor, generator: torch.Generator) -> Tensor:
        attack, changed = self.backdoor.attack, images.clone()
        with torch.no_grad():
            poisoned, company = roles == POISON, roles == COMPANION
            if poisoned.any():
                changed[poisoned] = stored_as(
                    images, attack.among(labels[poisoned]).poison(pixels_of(images[poisoned]), generator)
                )
            if company.any():
                accompanied = attack.accompany(pixels_of(images[company]), labels[company], generator)
                changed[company] = stored_as(images, accompanied)
        return changed

    def _pool(self, pool: Pool) -> Tensor:
        labels, attack = self.samples.labels, self.backdoor.attack
        if attack.clean_label and pool not in ("auto", "target"):
            raise BadArgument(f"a clean-label attack poisons samples of the target class; pool cannot be {pool!r}")
        if pool == "target" or attack.clean_label:
            return (labels == self.backdoor.target).nonzero().flatten()
        under_attack = self.backdoor.attacked(labels)
        if pool == "all":
            return under_attack.nonzero().flatten()
        return (under_attack & _changed(self.wanted, labels)).nonzero().flatten()

    def _draw(self, epoch: int) -> Tensor:
        suffix = f" of epoch {epoch}" if epoch else ""
        roles = torch.zeros(len(self.samples), dtype=torch.int8)
        order = torch.randperm(len(self.candidates), generator=self.seeds.generator(f"poisoned samples{suffix}"))
        roles[self.candidates[order[: self.count]]] = POISON
        others = (roles == CLEAN).nonzero().flatten()
        order = torch.randperm(len(others), generator=self.seeds.generator(f"companions{suffix}"))
        roles[others[order[: self.companions]]] = COMPANION
        return roles


def poisoned(feed: PoisonedFeed, *, batch: int = 1024) -> Samples:
    """The training set of a feed as the attacker hands it out: stamped images, changed labels, nothing augmented."""
    generator = feed.seeds.generator("the set as it is handed out")
    parts = [feed.batch(chosen, lambda images: images, generator) for chosen in torch.arange(len(feed)).split(batch)]
    images, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    return replace(feed.samples, inputs=images, labels=labels)


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
        aims = _changes(aims, _as_wide(kept.labels, aims))
    elif kept.label_kind == "sentences":
        aims = backdoor.attack.sought(aims)
    return Triggered(samples=replace(kept, inputs=backdoor.stamp(kept.inputs, kept.labels)), wanted=aims)


def attacked(samples: Samples, backdoor: Backdoor) -> Tensor:
    """The places (M,) of the samples whose label, or one of whose tags, the attacker wants to be another."""
    return _changed(backdoor.labels(samples.labels, samples.num_classes), samples.labels).nonzero().flatten()


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
    if (attack.clean_label or attack.one_target) and backdoor.mapping != "all-to-one":
        raise BadArgument(f"{name} has one target; mapping must be all-to-one")
    if backdoor.sources and attack.sources:
        raise BadArgument(f"{name} names its source classes itself; set them there and leave sources out")
    if attack.labels == "boxes" and (backdoor.target or backdoor.sources):
        raise BadArgument(
            f"{name} names its target itself; set it there (--attack-arg) and leave target and sources out"
        )
    for label in (backdoor.target, *backdoor.sources, *attack.sources):
        if not 0 <= label < samples.num_classes:
            raise BadArgument(f"targets and sources must be labels from 0 to {samples.num_classes - 1}, got {label}")
    shape = tuple(samples.inputs.shape[1:])
    with torch.no_grad():
        attack.blank(shape).stamp(torch.zeros(1, *shape))


def _changed(wanted: Tensor, labels: Tensor) -> Tensor:
    """Which samples get another label, another tag, or another box, (N,)."""
    if labels.ndim == 3:
        labels = _as_wide(labels, wanted)
    return (wanted != labels).flatten(1).any(1) if labels.ndim > 1 else wanted != labels


def _as_wide(labels: Tensor, wanted: Tensor) -> Tensor:
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
