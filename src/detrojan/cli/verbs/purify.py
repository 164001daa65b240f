"""`detrojan purify`: a suspect weights file in, the same file without the backdoor out."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen, percent, size
from detrojan.cli.failures import DONE, REJECTED
from detrojan.cli.options import IMAGES, RUNNING, Flag, Images, Network, Pairs, Running, Split
from detrojan.errors import BadArgument

if TYPE_CHECKING:
    from torch import nn

    from detrojan.checkpoint import Checkpoint
    from detrojan.data.samples import Samples
    from detrojan.purification import Result


def run(
    model: Path,
    /,
    *,
    network: Network,
    clean: str,
    clean_count: int | None = None,
    per_class: int | None = None,
    first: int | None = None,
    split: Split = "train",
    task: str | None = None,
    no_flip: Flag = False,
    method: str | None = None,
    settings: Annotated[Pairs, Parameter(name="--set")] = (),
    tolerance: float = 0.1,
    training: str | None = None,
    images: Images = IMAGES,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    report: Path | None = None,
    force: Flag = False,
    running: Running = RUNNING,
    sharded: Flag = False,
    activation_checkpointing: Flag = False,
) -> int:
    """Remove a backdoor from a network with a few clean samples.

    The file is read without running anything from it, and what is written has its format, keys and dtypes. Where too
    much clean accuracy would be lost, nothing is written and the exit code is 3.

    Args:
        model: The suspect weights: .safetensors, .pt, .pth, .bin, .tar or .ckpt.
        clean: Clean samples: a folder with one directory per class, a .npz or parquet file, or a data set's name.
        clean_count: Take so many of them, spread over the classes.
        per_class: Take so many of each class.
        first: Take them from the first so many only, the classes taking turns; with the number that was given to
            `detrojan train --keep`, the victim saw none of them.
        split: The part of a data set that they are taken from.
        task: What the network does: a name of `detrojan list tasks`; by default the one that fits the clean samples.
        no_flip: Do not mirror the images, where a mirrored one is another class, as with digits and signs.
        method: The defense: a name of `detrojan list defenses`; by default consistency_distil for images with one label
            each, for point clouds and for sentences, awm for boxes, and ft_sam for all else.
        settings: Settings of the method, such as steps=300; `detrojan list defenses NAME` shows them.
        tolerance: The largest loss of clean accuracy, as a share, that is accepted.
        training: What the model learned from, suspect or not, in the same forms as --clean; for methods that need it.
        out: The file to write. Without it, only the verdict is told.
        report: The HTML page to write.
        force: Overwrite files that exist.
        network: See `Network`.
        images: See `Images`.
        running: See `Running`.
        sharded: Under torchrun: divide the network among the processes (FSDP2), where no device holds it whole.
        activation_checkpointing: Compute activations again for the gradient, where the network does not fit.
    """
    screen = Screen(as_json=running.json)
    outputs.check(out, report, force=force, inputs=(model,))
    from detrojan import parallel
    from detrojan.purification import default_method, purify  # torch is needed, which takes its seconds

    distributed = reading.together(sharded=sharded)
    defense = None if method is None else _defense(method, settings, out)
    preprocessing = reading.preprocessing(images)
    suspect, found = reading.load(model, network)
    _check_suffix(out, found)
    samples = reading.samples(clean, images, split=split)
    kind = reading.task(task, samples, no_flip=no_flip)
    if method is None:
        method = default_method(kind)
        defense = _defense(method, settings, out)
    samples = reading.clean_part(samples, first=first, count=clean_count, per_class=per_class, seed=running.seed)
    learned = None if training is None else reading.samples(training, images, split="train")
    _introduce(screen, found, network, suspect, samples, method, settings)
    with screen.progress() as on_step:
        result = purify(
            suspect,
            samples,
            task=kind,
            method=defense,
            preprocessing=preprocessing,
            device=running.device,
            precision=running.precision,
            distributed=distributed,
            activation_checkpointing=activation_checkpointing,
            seed=running.seed,
            tolerance=tolerance,
            training=learned,
            on_step=on_step,
        )
    _judgement(screen, result)
    code = DONE if result.verdict.accepted else REJECTED
    if not parallel.leads():
        return code
    written = _write(screen, result, found, out=out, report=report, force=force)
    screen.finish(_document(result, found, written, code))
    return code


def _defense(method: str, settings: Pairs, out: Path | None) -> Any:
    """The method as it is asked for; refused where its result could not be written."""
    from detrojan.defenses import DEFENSES

    defense = reading.configured(DEFENSES, method, settings, flag="--set")
    if out is not None and getattr(defense, "guards", False):
        raise BadArgument(
            f"--out: what {method} finds is hooks on the network, and no file of weights can hold them; leave --out "
            "away to see the verdict alone, or take another method"
        )
    return defense


def _check_suffix(out: Path | None, found: "Checkpoint") -> None:
    """The output has the input's format, whatever its name says, so the name should say the same."""
    safe = found.format == "safetensors"
    if out is not None and (out.suffix == ".safetensors") != safe:
        own = found.path.suffix
        wanted = ".safetensors" if safe else ".pth" if own == ".safetensors" else own
        raise BadArgument(
            f"{out}: the output has the format of the input, which is {found.format}; "
            f"choose a name that ends in {wanted}"
        )


def _introduce(
    screen: Screen,
    found: "Checkpoint",
    network: Network,
    suspect: "nn.Module",
    samples: "Samples",
    method: str,
    settings: tuple[str, ...],
) -> None:
    parameters = sum(parameter.numel() for parameter in suspect.parameters())
    screen.facts(
        {
            "Model": f"{found.path} ({size(found.size)})",
            "Network": f"{' '.join((network.arch, *network.arch_arg))}, {parameters:,} parameters",
            "Clean": f"{len(samples)} samples of {_classes(samples)}, from {samples.name}",
            "Method": " ".join((method, *settings)),
        }
    )


def _classes(samples: "Samples") -> str:
    if samples.label_kind != "class":
        present = "" if samples.sentences else f"{int(samples.present.any(0).sum())} "
        return f"{present}{samples.label_kind}"
    return f"{len(samples.labels.unique())} classes"


def _judgement(screen: Screen, result: "Result") -> None:
    verdict, cost = result.verdict, result.cost
    judged = "tuned-on" if verdict.weak else "held-out"
    screen.table(
        f"{verdict.measure.capitalize()} on {verdict.after.count} {judged} samples, %",
        ("", "value", "95 % interval"),
        [
            (name, percent(found.value), f"{percent(found.low)} to {percent(found.high)}")
            for name, found in (
                ("before", verdict.before),
                ("after", verdict.after),
                ("lost", verdict.lost),
                ("same answer as before", verdict.agreement),
            )
        ],
    )
    if result.notes:
        screen.facts({name[0].upper() + name[1:]: str(told) for name, told in result.notes.items()})
    word, colour = ("Accepted.", "yellow" if verdict.doubt else "green") if verdict.accepted else ("Rejected.", "red")
    screen.say(word, style=f"bold {colour}")
    screen.say(verdict.reason)
    screen.say("Clean samples cannot prove that no backdoor is left; they tell what its removal cost.", style="dim")
    screen.say(f"{cost.seconds:.1f} s on {result.execution}, peak memory {size(cost.peak_bytes)} above the start.")


def _write(
    screen: Screen, result: "Result", found: "Checkpoint", *, out: Path | None, report: Path | None, force: bool
) -> dict[str, Any]:
    """Write what was asked for; of a rejected model only the report."""
    from detrojan import checkpoint
    from detrojan.weight_copies import lookalikes

    written: dict[str, Any] = {"output": None, "report": None}
    hashes = {"input": found.sha256}
    with outputs.uninterrupted():
        if out is not None and result.verdict.accepted:
            hashes["output"] = checkpoint.write(out, found, result.model, force=force)
            written["output"] = {"path": str(out), "sha256": hashes["output"]}
            screen.say(f"Wrote {out}")
            if alike := lookalikes(found.document, found.primary, found.state):
                places = ", ".join(".".join(place) or "the top" for place in alike)
                screen.note(
                    f"{out} also keeps what the input holds beside the network; tensors of the network's shapes are "
                    f"under {places} (an optimizer's averages, or weights without names): do not go on from those."
                )
        elif out is not None:
            screen.say(f"{out} was not written.", style="yellow")
        if report is not None:
            command = shlex.join(("detrojan", *sys.argv[1:]))
            result.report(report, force=force, hashes=hashes, command=command)
            written["report"] = str(report)
            screen.say(f"Wrote {report}")
    return written


def _document(result: "Result", found: "Checkpoint", written: dict[str, Any], code: int) -> dict[str, Any]:
    return {
        "verb": "purify",
        "input": {"path": str(found.path), "sha256": found.sha256},
        **written,
        "verdict": asdict(result.verdict),
        "method": result.method,
        "settings": result.settings,
        "task": result.task,
        "clean": {"name": result.clean.name, "count": len(result.clean)},
        "tuned": len(result.tuned),
        "judged": len(result.judged),
        "notes": result.notes,
        "cost": asdict(result.cost),
        "execution": result.execution,
        "seed": result.seed,
        "exit_code": code,
    }
