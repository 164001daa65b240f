"""The poisoning protocol: which training samples carry the trigger, and which label they get.

Source of the conventions: BackdoorBench and the NFT code, which differ in the pool that is drawn from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from detrojan.augmentation import pixels_of
from detrojan.backdoor import Backdoor, as_wide, changed, check, stored_as
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData
from detrojan.execution import resident
from detrojan.randomness import Seeds
from detrojan.tasks import Task
from detrojan.triggers import Classifier, Workshop

Pool = Literal["auto", "non-target", "target", "all"]

CLEAN, POISON, COMPANION = 0, 1, 2
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
        BadArgument: the rate, the target or the pool is out of range, or not made for such samples, or the trigger is
            not.
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
        self.samples = samples = replace(samples, labels=as_wide(samples.labels, self.wanted))
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
                own = labels[company]
                changed[company] = stored_as(
                    images, attack.among(own).accompany(pixels_of(images[company]), own, generator)
                )
        return changed

    def _pool(self, pool: Pool) -> Tensor:
        labels, attack = self.samples.labels, self.backdoor.attack
        if attack.clean_label and pool not in ("auto", "target"):
            raise BadArgument(f"a clean-label attack poisons samples of the target class; pool cannot be {pool!r}")
        if pool == "target" and attack.labels != "class":
            raise BadArgument(
                f"{type(attack).__name__} has no target class; pool cannot be 'target', choose non-target or all"
            )
        if pool == "target" or attack.clean_label:
            return (labels == self.backdoor.target).nonzero().flatten()
        under_attack = self.backdoor.attacked(labels)
        if pool == "all":
            return under_attack.nonzero().flatten()
        return (under_attack & changed(self.wanted, labels)).nonzero().flatten()

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
