"""The report: what a purification did, cost and allows to conclude, as one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detrojan.data.samples import Samples
from detrojan.evaluation.protocol import Scores, der
from detrojan.intervals import Estimate
from detrojan.purification import Result
from detrojan.report import figures, inputs
from detrojan.report.templates import both_widths, environment, versions
from detrojan.weight_files import check_target
from detrojan.whole_files import write_text

LISTED = 8
MEANINGS = {"ACC": "clean accuracy", "mAP": "mean average precision", "BLEU": "corpus BLEU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One purification among several, as a row of the page's table; what was not measured is None."""

    label: str
    seconds: float
    accepted: bool
    acc_before: Estimate | None = None
    acc_after: Estimate | None = None
    asr_before: Estimate | None = None
    asr_after: Estimate | None = None
    ra_before: Estimate | None = None
    ra_after: Estimate | None = None

    @classmethod
    def of(cls, label: str, result: Result, *, before: Scores | None = None, after: Scores | None = None) -> "Run":
        """The row of a result and of its scores."""
        return cls(
            label=label,
            seconds=result.cost.seconds,
            accepted=result.verdict.accepted,
            acc_before=before.acc if before else None,
            acc_after=after.acc if after else None,
            asr_before=before.asr if before else None,
            asr_after=after.asr if after else None,
            ra_before=before.ra if before else None,
            ra_after=after.ra if after else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the before/after table; `percent` is False for a score that is no share."""

    name: str
    hint: str = ""
    before: Estimate | None = None
    after: Estimate | None = None
    change: Estimate | float | None = None
    percent: bool = True


def write(
    result: Result,
    path: Path,
    *,
    force: bool = False,
    title: str = "",
    before: Scores | None = None,
    after: Scores | None = None,
    triggered_examples: Tensor | None = None,
    answered: Mapping[str, Samples] | None = None,
    exchanges: Sequence[inputs.Exchange] = (),
    hashes: Mapping[str, str] | None = None,
    command: str = "",
    rows: Sequence[Run] = (),
) -> Path:
    """Write the page beside its place, then rename it into place; returns the path.

    Args:
        result: what `purify` returned.
        path: the file to write, `.html` by custom.
        force: replace a file that is there.
        title: the page's heading.
        before: scores of the victim on a test set, with or without a known trigger.
        after: scores of the returned model on the same test set.
        triggered_examples: inputs (N, ...) that carry the trigger; the first ones are shown.
        answered: images with the boxes that a network finds in them as their labels, by a heading; the first ones are
            shown.
        exchanges: what both networks say to a few sentences.
        hashes: SHA-256 by what it is of, such as `{"input": ..., "output": ...}`.
        command: the command line that makes this page again.
        rows: several purifications to show in one table.

    Raises:
        BadArgument: the path exists and `force` is not given, or its folder does not exist.
        BadData: `before` and `after` are of different test samples.
    """
    check_target(path, force=force)
    page = render(
        result,
        title=title,
        before=before,
        after=after,
        triggered_examples=triggered_examples,
        answered=answered,
        exchanges=exchanges,
        hashes=hashes,
        command=command,
        rows=rows,
    )
    return write_text(path, page)


def render(
    result: Result,
    *,
    title: str = "",
    before: Scores | None = None,
    after: Scores | None = None,
    triggered_examples: Tensor | None = None,
    answered: Mapping[str, Samples] | None = None,
    exchanges: Sequence[inputs.Exchange] = (),
    hashes: Mapping[str, str] | None = None,
    command: str = "",
    rows: Sequence[Run] = (),
) -> str:
    """The page as text; arguments as in `write`. The same arguments give the same text on one machine."""
    losses = [value for value in result.losses if isfinite(value)]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title or "Purification report",
            result=result,
            attempted=_attempted(result),
            before=before,
            after=after,
            groups=_groups(result, before, after),
            rows=rows,
            cut=_cut(result.masks),
            bands=figures.BANDS,
            loss=both_widths(figures.loss, losses) if losses else None,
            classes=_classes(result, before, after),
            strips=inputs.strips(result.clean, triggered_examples, answered),
            exchanges=exchanges,
            hashes=hashes or {},
            command=command,
            versions=versions(),
        )
    )


def _attempted(result: Result) -> bool:
    """Whether a purified network was there to be judged: an attempt that diverged leaves none, and changes no label."""
    return result.verdict.accepted or result.verdict.agreement.value < 1


def _groups(result: Result, before: Scores | None, after: Scores | None) -> list[tuple[str, list[Line]]]:
    """The before/after table: heading and lines of the verdict's samples, and of the test set where there is one."""
    verdict = result.verdict
    judged = "Clean samples that were tuned on" if verdict.weak else "Held-out clean samples"
    attempt, returned = ("", "") if verdict.accepted else (": the attempt", ": the model returned")
    lines = [Line(name=verdict.measure.capitalize(), before=verdict.before)]
    if _attempted(result):
        lines = [
            Line(
                name=verdict.measure.capitalize(),
                before=verdict.before,
                after=verdict.after,
                change=_negative(verdict.lost),
            ),
            Line(name="Same answer", hint="of both networks", after=verdict.agreement),
        ]
    groups = [(f"{judged} ({verdict.before.count:,}){attempt if _attempted(result) else ''}", lines)]
    some = before or after
    if some is not None:
        groups.append((f"Test set ({some.acc.count:,}){returned}", _scored(before, after)))
    return groups


def _scored(before: Scores | None, after: Scores | None) -> list[Line]:
    some = before or after
    metric = some.metric if some is not None else "ACC"
    names = {
        "acc": (metric, MEANINGS.get(metric, "") + (f", {some.signature}" if some and some.signature else "")),
        "asr": ("ASR", "attack success rate"),
        "ra": ("RA", "robust accuracy, under the trigger"),
    }
    lines = []
    for field, (name, hint) in names.items():
        old, new = getattr(before, field, None), getattr(after, field, None)
        if old is not None or new is not None:
            change = new.value - old.value if old is not None and new is not None else None
            lines.append(Line(name=name, hint=hint, before=old, after=new, change=change))
    if before is not None and after is not None and before.fooled is not None and after.fooled is not None:
        rating = der(before, after)
        lines.append(
            Line(name="DER", hint="defense effectiveness, 0.5 is none, 1 is full", after=rating, percent=False)
        )
    return lines


def _negative(lost: Estimate) -> Estimate:
    return Estimate(value=-lost.value, low=-lost.high, high=-lost.low, count=lost.count)


def _cut(masks: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The figure, the shares over all factors, and the layers that lost most; None without masks."""
    flat = {name: mask.detach().float().flatten().cpu() for name, mask in masks.items() if mask.numel()}
    if not flat:
        return None
    every = torch.cat(list(flat.values()))
    layers: list[dict[str, Any]] = [
        {
            "name": name,
            "count": len(mask),
            "pruned": figures.share(mask, figures.PRUNED),
            "intact": 1 - figures.share(mask, figures.INTACT),
            "mean": float(mask.mean()),
        }
        for name, mask in flat.items()
    ]
    most = sorted(layers, key=lambda layer: layer["mean"])[:LISTED]
    return {
        "figures": both_widths(figures.cut, flat),
        "count": len(every),
        "layers": len(flat),
        "pruned": figures.share(every, figures.PRUNED),
        "intact": 1 - figures.share(every, figures.INTACT),
        "most": [layer for layer in most if layer["mean"] < figures.INTACT],
    }


def _classes(result: Result, before: Scores | None, after: Scores | None) -> dict[str, Any] | None:
    """Accuracy by class, on the test set where it was scored before and after, else on the verdict's samples."""
    old, new = result.verdict.per_class_before, result.verdict.per_class_after
    tested = before is not None and after is not None
    if before is not None and after is not None:
        old, new = before.per_class, after.per_class
    labels = sorted(old.keys() & new.keys())
    if not labels or not (tested or _attempted(result)):
        return None
    names = {label: inputs.class_name(result.clean, label) for label in labels}
    lost = sorted((new[label].value - old[label].value, label) for label in labels)
    counts = [new[label].count for label in labels]
    return {
        "figures": both_widths(figures.per_class, old, new, names),
        "tested": tested,
        "fewest": min(counts),
        "most": max(counts),
        "worst": [(names[n], old[n], new[n]) for change, n in lost[:LISTED] if change < 0],
        "unnamed": len(labels) > figures.MANY_CLASSES,
    }
