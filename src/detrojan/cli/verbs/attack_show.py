"""`detrojan attack show`: a contact sheet of a trigger, with how much it changes."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen, percent
from detrojan.cli.options import AIM, IMAGES, RUNNING, Aim, Flag, Images, Running, Split, Trigger
from detrojan.errors import BadArgument, BadData

if TYPE_CHECKING:
    from torch import Tensor

    from detrojan.backdoor import Backdoor
    from detrojan.data.samples import Samples
    from detrojan.evaluation.visibility import Visibility

NORMS = {"l_inf": "largest change (l_inf)", "l_2": "length of all changes (l_2)", "changed": "changed pixels, %"}


def run(
    name: str | None = None,
    /,
    *,
    data: str,
    split: Split = "test",
    count: int = 8,
    aim: Aim = AIM,
    victim: Path | None = None,
    images: Images = IMAGES,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    force: Flag = False,
    running: Running = RUNNING,
) -> int:
    """Draw a few images (of clips the frame in the middle) without and with a trigger, and tell how much it changes.

    A trigger that is learned is learned first, on the training images and with a small network that is trained for
    it; `--victim` shows instead what a victim's trigger has become.

    Args:
        name: The attack: a name of `detrojan list attacks`.
        data: Images: a folder with one directory per class, a .npz or parquet file, or a data set's name.
        split: The part of the data set that is shown.
        count: How many images, spread over the classes whose label the attack changes.
        victim: The record that `detrojan train` wrote beside its weights; it names the attack and its target.
        out: The PNG file to write; by default the attack's name with .png, here.
        force: Overwrite a file that exists.
        aim: See `Aim`.
        images: See `Images`.
        running: See `Running`.
    """
    screen = Screen(as_json=running.json)
    if name is None and victim is None:
        raise BadArgument("which attack? Name one of `detrojan list attacks`, or give --victim")
    out = out or Path(f"{name or (victim and victim.stem)}.png")
    if out.suffix != ".png":
        raise BadArgument(f"{out}: the sheet is a PNG file; end its name in .png")
    outputs.check(out, force=force)
    from detrojan.evaluation.visibility import visibility
    from detrojan.report.contact_sheet import amplification, contact_sheet

    backdoor = reading.backdoor(Trigger(attack=name, **asdict(aim)), victim)
    if backdoor is None:
        raise BadArgument(f"{victim} tells of a network that was trained on clean data; it has no trigger to show")
    if backdoor.attack.labels == "tags":
        raise BadArgument(f"{name or victim} changes labels and no pixel, so that there is nothing to draw")
    found = reading.samples(data, images, split=split)
    if found.kind not in ("images", "clips"):
        raise BadArgument(
            f"{found.name} has {found.kind}; the sheet shows images, and of clips the frame in the middle"
        )
    shown, wanted = _chosen(found, backdoor, count, running.seed)
    if victim is None:
        backdoor = _forged(screen, backdoor, data, images, running)
    triggered = backdoor.stamp(shown.inputs, shown.labels)
    if shown.kind == "clips":
        middle = shown.inputs.shape[2] // 2
        shown, triggered = replace(shown, inputs=shown.inputs[:, :, middle]), triggered[:, :, middle]
    seen = visibility(shown.inputs, triggered)
    title = " ".join((name or str(victim), *aim.attack_arg))
    sheet = contact_sheet(
        shown,
        triggered,
        wanted,
        title=f"{title} on {shown.name}",
        caption=_caption(seen),
        shown=_with_boxes(shown, triggered, wanted) if shown.label_kind == "boxes" else None,
    )
    sheet.save(out)
    rows = [(words, *_figures(getattr(seen, norm), share=norm == "changed")) for norm, words in NORMS.items()]
    screen.table(f"{title}, {len(shown)} images, values of 0 to 255", ("", "mean", "least", "most"), rows)
    screen.say(f"Wrote {out}")
    screen.finish(
        {
            "verb": "attack show",
            "attack": name,
            "victim": victim,
            "sheet": out,
            "images": len(shown),
            **{norm: float(getattr(seen, norm).mean()) for norm in NORMS},
            "amplification": amplification(shown.inputs, triggered),
            "seed": running.seed,
            "exit_code": 0,
        }
    )
    return 0


def _chosen(found: "Samples", backdoor: "Backdoor", count: int, seed: int) -> "tuple[Samples, Tensor]":
    """Some of the samples that the attack changes the label of, by class, and the labels that it wants."""
    from detrojan.backdoor import attacked, check
    from detrojan.data.samples import sample

    check(found, backdoor)
    wanted = backdoor.labels(found.labels, found.num_classes)
    scored = attacked(found, backdoor)
    if not len(scored):
        raise BadData(f"{found.name}: the attack changes the label of none; choose another target, or other sources")
    places = sample(replace(found, inputs=scored, labels=found.labels[scored]), count=count, seed=seed)[0].inputs
    places = places[found.subset(places).groups.argsort(stable=True)]
    return found.subset(places), wanted[places]


def _with_boxes(shown: "Samples", triggered: "Tensor", wanted: "Tensor") -> "tuple[Tensor, Tensor]":
    """The images with their boxes, and those with the trigger with the boxes that the attacker wants."""
    import torch

    from detrojan.report.inputs import with_boxes

    pairs = ((shown.inputs, shown.labels), (triggered, wanted))
    before, after = (torch.stack(list(map(with_boxes, images, boxes))) for images, boxes in pairs)
    return before, after


def _forged(screen: Screen, backdoor: "Backdoor", data: str, images: Images, running: Running) -> "Backdoor":
    """The backdoor with a trigger that is ready; only one that is learned needs the training images."""
    from detrojan.triggers import Trigger as Plain
    from detrojan.victim import forge

    kind = type(backdoor.attack)
    if kind.forge is Plain.forge:
        return backdoor
    samples = reading.samples(data, images, split="train")
    with screen.progress() as on_step:
        forged = forge(
            backdoor,
            samples,
            task=reading.task(None, samples),
            preprocessing=reading.preprocessing(images),
            device=running.device,
            precision=running.precision,
            seed=running.seed,
            on_step=on_step,
        )
    kind = type(forged.attack)
    if any(getattr(kind, hook) is not getattr(Plain, hook) for hook in ("adapt", "between_epochs", "plant")):
        screen.say("This trigger is finished only with its victim; --victim shows what it has become.")
    return forged


def _figures(values: "Tensor", *, share: bool) -> tuple[str, ...]:
    ends = (float(values.mean()), float(values.min()), float(values.max()))
    return tuple(percent(value) if share else f"{value:.1f}" for value in ends)


def _caption(seen: "Visibility") -> str:
    l_inf, l_2, changed = (float(getattr(seen, norm).mean()) for norm in NORMS)
    return (
        f"l∞ {l_inf:.1f}, l₂ {l_2:.1f} (values of 0 to 255, mean of {len(seen.l_2)} images)  ·  "
        f"{percent(changed)} % of the pixels changed  ·  mid grey is no difference"
    )
