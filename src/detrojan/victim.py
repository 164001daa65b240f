"""Make a backdoored network: poison a training set and train on it, with a record of all that was done."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detrojan import architectures, checkpoint
from detrojan.attacks import ATTACKS
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadFile
from detrojan.execution import Execution, Precision
from detrojan.poisoning import Backdoor, Pool, poison
from detrojan.poisoning import Mapping as LabelMapping
from detrojan.randomness import Seeds
from detrojan.training import OnStep, Recipe, fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A trained network with its backdoor (None: trained on clean data), and the record of how it was made."""

    model: nn.Module
    backdoor: Backdoor | None
    losses: tuple[float, ...]
    record: Mapping[str, Any]

    def save(self, path: Path | str, *, force: bool = False) -> Path:
        """Write the weights, and the record beside them as JSON under the same name; returns the record's path.

        The weights go first: a record never speaks of weights that are not there.
        """
        path = Path(path)
        beside = path.with_suffix(".json")
        if beside.exists() and not force:
            raise BadArgument(f"{beside} exists already; choose another name or overwrite with --force")
        sha256 = checkpoint.save(path, self.model, force=force)
        unfinished = beside.with_name(f".{beside.name}.unfinished")
        unfinished.write_text(json.dumps({**self.record, "weights": path.name, "sha256": sha256}, indent=1) + "\n")
        os.replace(unfinished, beside)
        return beside


def train(
    architecture: str | nn.Module,
    data: Samples,
    *,
    attack: str | Any | None = "badnets",
    poison_rate: float = 0.1,
    target: int = 0,
    mapping: LabelMapping = "all-to-one",
    pool: Pool = "non-target",
    preprocessing: Preprocessing | None = None,
    recipe: Recipe | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    on_step: OnStep | None = None,
    **settings: Any,
) -> Victim:
    """Train a network on a poisoned training set.

    Args:
        architecture: as in `detrojan.architectures.build`, with `settings` for its builder; a module is trained in
            place.
        data: stored uint8 training images.
        attack: a name of `detrojan list attacks`, a configured attack, or None for a clean network.
        poison_rate: the share in [0, 1] of `pool` that is poisoned.
        target: the label that the attacker wants (all-to-one).
        mapping: see `Backdoor`.
        pool: see `poison`.
        preprocessing: what stands between the images and the network.
        recipe: the training recipe.
        device: `auto`, `cpu`, `cuda`, ...
        precision: as in `purify`.
        seed: draws the weights, the poisoned samples, the batches and the augmentation.
        on_step: called after every step.
        settings: keyword settings of the architecture.

    Raises:
        BadArgument, BadData, UnknownName: each with one sentence that says what to do.
    """
    seeds, recipe, preprocessing = Seeds(seed=seed), recipe or Recipe(), preprocessing or Preprocessing()
    with seeds.seeded("weights"):
        model = architectures.build(architecture, **settings) if isinstance(architecture, str) else architecture
    backdoor, poisoned, indices = None, data, []
    if attack is not None:
        backdoor = Backdoor(attack=ATTACKS.build(attack), target=target, mapping=mapping)
        made = poison(data, backdoor, rate=poison_rate, pool=pool, seed=seed)
        poisoned, indices = made.samples, made.indices.tolist()
    execution = Execution.choose(model, device, precision)
    losses = fit(
        model, poisoned, preprocessing=preprocessing, recipe=recipe, execution=execution, seed=seed, on_step=on_step
    )
    model.to("cpu").to(memory_format=torch.contiguous_format)
    record = {
        "architecture": architecture if isinstance(architecture, str) else type(model).__name__,
        "architecture_settings": settings,
        "data": data.name,
        "attack": _name(attack),
        "attack_settings": _settings(backdoor.attack) if backdoor else {},
        "target": target,
        "mapping": mapping,
        "pool": pool,
        "poison_rate": poison_rate,
        "poisoned_indices": indices,
        "preprocessing": asdict(preprocessing),
        "recipe": asdict(recipe),
        "seed": seed,
        "execution": str(execution),
        "losses": losses,
    }
    return Victim(model=model, backdoor=backdoor, losses=tuple(losses), record=record)


def backdoor_of(path: Path | str) -> Backdoor | None:
    """The backdoor that a record written by `Victim.save` tells of; None where the network was trained on clean data.

    Raises:
        BadFile: the file is no such record.
    """
    try:
        record = json.loads(Path(path).read_text())
        if record["attack"] is None:
            return None
        attack = ATTACKS.build(record["attack"], **record["attack_settings"])
        return Backdoor(attack=attack, target=record["target"], mapping=record["mapping"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"{path} is no record of a victim ({error!r}); give the .json that `detrojan train` wrote"
        ) from error


def _settings(attack: Any) -> dict[str, Any]:
    return asdict(attack) if is_dataclass(attack) and not isinstance(attack, type) else {}


def _name(attack: Any) -> str | None:
    return attack if attack is None or isinstance(attack, str) else type(attack).__module__.rpartition(".")[2]
