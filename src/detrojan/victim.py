"""Make a backdoored network: poison a training set and train on it, with a record of all that was done."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detrojan import architectures, checkpoint, parallel
from detrojan.attacks import ATTACKS
from detrojan.backdoor import Backdoor
from detrojan.backdoor import Mapping as LabelMapping
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadFile
from detrojan.execution import Distributed, Execution, Precision
from detrojan.models.preact_resnet import preact_resnet18
from detrojan.poisoning import PoisonedFeed, Pool
from detrojan.progress import OnStep
from detrojan.randomness import Seeds
from detrojan.recipe import Recipe
from detrojan.tasks import TASKS, Task, task_for
from detrojan.training import classifier, fit
from detrojan.triggers import Trigger
from detrojan.whole_files import write_text
from detrojan.workshop import augmentation_of, workshop_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A trained network with its backdoor (None: trained on clean data), and the record of how it was made."""

    model: nn.Module
    backdoor: Backdoor | None
    losses: tuple[float, ...]
    record: Mapping[str, Any]

    def save(self, path: Path | str, *, force: bool = False) -> Path:
        """Write the weights, what the trigger has learned (`NAME.trigger.safetensors`), and the record as JSON.

        Returns the record's path. It goes last: a record never speaks of files that are not there.
        """
        path = Path(path)
        beside, trigger = path.with_suffix(".json"), trigger_file(path)
        learned = self.backdoor is not None and isinstance(self.backdoor.attack, nn.Module)
        for file in (beside, trigger) if learned else (beside,):
            if file.exists() and not force:
                raise BadArgument(f"{file} exists already; choose another name or overwrite with --force")
        record = {**self.record, "weights": path.name, "sha256": checkpoint.save(path, self.model, force=force)}
        if self.backdoor is not None and isinstance(self.backdoor.attack, nn.Module):
            record["trigger_sha256"] = checkpoint.save(trigger, self.backdoor.attack, force=force)
        return write_text(beside, json.dumps(record, indent=1) + "\n")


def train(
    architecture: str | nn.Module,
    data: Samples,
    *,
    task: Any = "image",
    attack: str | Trigger | None = "badnets",
    poison_rate: float | None = None,
    target: int = 0,
    mapping: LabelMapping = "all-to-one",
    sources: tuple[int, ...] = (),
    pool: Pool = "auto",
    companions: float | None = None,
    preprocessing: Preprocessing | None = None,
    recipe: Recipe | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    distributed: Distributed = False,
    seed: int = 0,
    on_step: OnStep | None = None,
    state: Path | None = None,
    start: Path | str | None = None,
    **settings: Any,
) -> Victim:
    """Train a network on a poisoned training set.

    Args:
        architecture: as in `detrojan.architectures.build`, with `settings` for its builder; a module is trained in
            place.
        data: stored training samples: uint8 images or clips, or points.
        task: a name of `detrojan list tasks`, or a configured task; it augments what is neither an image nor a clip
            (those are cropped and mirrored as the recipe says), and images with boxes.
        attack: a name of `detrojan list attacks`, a configured attack, or None for a clean network.
        poison_rate: the share in [0, 1] of `pool` that is poisoned; None takes the attack's published rate.
        target: the label that the attacker wants (all-to-one).
        mapping: see `Backdoor`.
        sources: see `Backdoor`.
        pool: see `PoisonedFeed`.
        companions: see `PoisonedFeed`.
        preprocessing: what stands between the images and the network.
        recipe: the training recipe.
        device: `auto`, `cpu`, `cuda`, ...
        precision: as in `purify`.
        distributed: as in `purify`. Each process prepares what the attacker does, and all take the first one's trigger;
            one that goes on learning beside the victim (Dyn, LIRA) may drift apart where a device's sums do.
        seed: draws the weights, the poisoned samples, the batches and the augmentation.
        on_step: called after every step.
        state: see `fit`: a file that an interrupted training goes on from. The caller removes it when the victim is
            saved. The attacker's surrogate has one of its own beside it while it is needed.
        start: a weights file that the training starts from (fine-tuning); None starts from fresh weights.
        settings: keyword settings of the architecture.

    Raises:
        BadArgument, BadData, UnknownName: each with one sentence that says what to do.
    """
    seeds, recipe, preprocessing = Seeds(seed=seed), recipe or Recipe(), preprocessing or Preprocessing()
    method = ATTACKS.build(attack).worded(data) if attack is not None else None
    chosen = task_for(task, data)
    rate = method.rate if poison_rate is None and method is not None else poison_rate or 0.0
    backdoor, feed = None, None
    of_surrogate = None if state is None or not parallel.leads() else state.with_name(f"{state.name}.surrogate")
    with seeds.seeded("weights"):
        model = architectures.build(architecture, **settings) if isinstance(architecture, str) else architecture
    found = None if start is None else checkpoint.read(start)
    if found is not None:
        checkpoint.load_into(model, found)
    execution = Execution.choose(model, device, precision, distributed=distributed)
    _check_outputs(model, data, chosen, preprocessing, execution)
    if method is not None:
        backdoor = Backdoor(attack=method, target=target, mapping=mapping, sources=sources)
        feed = PoisonedFeed(data, backdoor, rate=rate, pool=pool, companions=companions, seed=seed)
        workshop = workshop_of(data, backdoor, chosen, preprocessing, execution, seeds, on_step, of_surrogate)
        method.admit(model, workshop)
        started = state is not None and state.exists()
        learned = method.blank(tuple(data.inputs.shape[1:])) if started else method.forge(workshop)
        backdoor = feed.backdoor = replace(backdoor, attack=learned)
        if isinstance(learned, nn.Module):
            learned.to(execution.device)
        if not started:
            feed.harden(workshop)
        if execution.processes > 1 and isinstance(learned, nn.Module):
            parallel.agree(learned)
    losses = fit(
        model,
        feed or data,
        preprocessing=preprocessing,
        recipe=recipe,
        execution=execution,
        seed=seed,
        on_step=on_step,
        state=state,
        augment=augmentation_of(data, chosen),
        task=chosen,
    )
    if of_surrogate is not None:
        of_surrogate.unlink(missing_ok=True)
    if backdoor is not None:
        backdoor.attack.plant(model, workshop)
        if isinstance(backdoor.attack, nn.Module):
            backdoor.attack.to("cpu").eval()
    model.to("cpu").to(memory_format=torch.contiguous_format)
    record = {
        "architecture": architecture if isinstance(architecture, str) else type(model).__name__,
        "architecture_settings": settings,
        "start_sha256": None if found is None else found.sha256,
        "task": TASKS.name_of(chosen),
        "data": data.name,
        "image_shape": list(data.inputs.shape[1:]),
        "attack": None if method is None else ATTACKS.name_of(method),
        "attack_settings": _settings(method),
        "target": target,
        "mapping": mapping,
        "sources": list(sources),
        "pool": pool,
        "poison_rate": rate,
        "companions": feed.companions if feed else 0,
        "poisoned_indices": feed.indices.tolist() if feed else [],
        "preprocessing": asdict(preprocessing),
        "recipe": asdict(recipe),
        "seed": seed,
        "execution": str(execution),
        "losses": losses,
    }
    return Victim(model=model, backdoor=backdoor, losses=tuple(losses), record=record)


def forge(
    backdoor: Backdoor,
    data: Samples,
    *,
    task: Any = "image",
    preprocessing: Preprocessing | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Backdoor:
    """The backdoor with its trigger as it stands before a victim is trained on `data`; a plain trigger is ready.

    The arguments are those of `train`.
    """
    execution = Execution.choose(preact_resnet18(width=1), device, precision)  # as for any convolutional victim
    seeds, chosen = Seeds(seed=seed), task_for(task, data)
    workshop = workshop_of(data, backdoor, chosen, preprocessing or Preprocessing(), execution, seeds, on_step)
    learned = backdoor.attack.forge(workshop)
    return replace(backdoor, attack=learned.to("cpu").eval() if isinstance(learned, nn.Module) else learned)


def backdoor_of(path: Path | str) -> Backdoor | None:
    """The backdoor that a record written by `Victim.save` tells of; None where the network was trained on clean data.

    Raises:
        BadFile: the file is no such record, or what the trigger learned is missing or was changed.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        if record["attack"] is None:
            return None
        attack = ATTACKS.build(record["attack"], **record["attack_settings"])
        trigger = attack.blank(tuple(record["image_shape"])) if "trigger_sha256" in record else attack
        backdoor = Backdoor(
            attack=trigger,
            target=record["target"],
            mapping=record["mapping"],
            sources=tuple(record.get("sources", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_record(path, error) from error
    if isinstance(trigger, nn.Module):
        learned = checkpoint.read(trigger_file(path))
        if learned.sha256 != record["trigger_sha256"]:
            raise BadFile(f"{trigger_file(path)} is not the trigger that {path} tells of; keep the files together")
        checkpoint.load_into(trigger, learned)
        trigger.eval()
    return backdoor


def preprocessing_of(path: Path | str) -> Preprocessing:
    """What stood between the samples and the network that a record written by `Victim.save` tells of.

    Raises:
        BadFile: the file is no such record.
    """
    try:
        told: dict[str, Any] = json.loads(Path(path).read_text())["preprocessing"]
        lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        return Preprocessing(**{**told, **lists})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_record(path, error) from error


def _no_record(path: Path | str, error: Exception) -> BadFile:
    return BadFile(f"{path} is no record of a victim ({error!r}); give the .json that `detrojan train` wrote")


def trigger_file(path: Path) -> Path:
    """Where what a trigger has learned is kept, for a victim's weights or record."""
    return path.with_name(f"{path.stem}.trigger.safetensors")


@torch.no_grad()
def _check_outputs(
    model: nn.Module, data: Samples, task: Task, preprocessing: Preprocessing, execution: Execution
) -> None:
    """Refuse a network that has not a score for each class or tag, or does not know all words, before it is trained."""
    if data.label_kind == "sentences":
        _check_words(execution.placed(model) if execution.sharded else execution.place(model), data, task, execution)
    if data.label_kind not in ("class", "tags"):
        return  # the first batch tells
    network = execution.placed(model) if execution.sharded else execution.place(model)
    found = classifier(network, preprocessing, execution, task)(data.inputs[:1].to(execution.device)).shape[1]
    tags = data.label_kind == "tags"
    if found < data.num_classes or (tags and found != data.num_classes):
        raise BadArgument(
            f"{data.name} has {data.num_classes} {'tags' if tags else 'classes'} and the network {found} scores; set "
            f"num_classes={data.num_classes} (--arch-arg)"
        )


def _check_words(network: nn.Module, data: Samples, task: Task, execution: Execution) -> None:
    """Run the network on the samples that hold the last words of both vocabularies."""
    places = [int(tokens.amax(1).argmax()) for tokens in (data.inputs, data.labels)]
    shown = task.teach(data.inputs[places], data.labels[places])
    mode = network.training
    network.eval()
    try:
        known = task.logits(task.forward(execution.run, network, shown.to(execution.device))).shape[-1]
    except IndexError:
        known = 0
    network.train(mode)
    if known <= int(data.labels.max()):
        raise BadArgument(
            f"{data.name} has tokens up to {int(data.inputs.max())}, and answers up to {int(data.labels.max())}, which "
            "the network does not know; set its words= and num_classes= (--arch-arg) to the sizes of the vocabularies"
        )


def _settings(attack: Any) -> dict[str, Any]:
    return asdict(attack) if is_dataclass(attack) and not isinstance(attack, type) else {}
