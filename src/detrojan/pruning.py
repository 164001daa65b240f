"""How far to prune: by a printed rule that looks at held-out clean samples and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from detrojan.data.samples import Samples, held_back
from detrojan.masks import Masks, Placement, Predicate
from detrojan.tuning import Context, Objective, Tuned, tune
from detrojan.weight_tuning import ROUNDING, accuracy

HELD_OUT, FEWEST_HELD_OUT = 0.2, 20
THRESHOLDS = tuple(step / 20 for step in range(19))
"""0 to 0.9 in steps of 0.05, at which the field cuts masks off."""


def parts(clean: Samples, context: Context) -> tuple[Samples, Samples]:
    """Clean samples to work on and to hold out for the rule; all of them twice, where they are fewer than a hundred."""
    seed = context.seeds.number("held out to prune")
    work, judge = held_back(clean, fraction=HELD_OUT, fewest=FEWEST_HELD_OUT, seed=seed)
    return clean.subset(work), clean.subset(judge)


def furthest(
    prune: Callable[[float], nn.Module],
    levels: Sequence[float],
    victim: nn.Module,
    held_out: Samples,
    context: Context,
    *,
    tolerance: float,
    level_is: str = "threshold",
) -> tuple[nn.Module, dict[str, float | str]]:
    """The network pruned furthest with no more accuracy lost than tolerated, and the notes that say so.

    Args:
        prune: makes the pruned network of a level.
        levels: in the order of severity.
        victim: the network as it was; it comes out where every level loses too much.
        held_out: samples that decide.
        context: see there.
        tolerance: of accuracy, as a share in [0, 1].
        level_is: what the notes call a level.
    """
    before = accuracy(victim, held_out, context)
    rule = f"the largest with at most {100 * tolerance:g} points of accuracy lost on {len(held_out)} held-out samples"
    for level in reversed(levels):
        pruned = context.execution.place(prune(level))
        if before - accuracy(pruned, held_out, context) <= tolerance + ROUNDING:
            return pruned, {level_is: round(level, 4), f"rule for the {level_is}": rule}
    return victim, {level_is: "none", f"rule for the {level_is}": rule}


def tune_and_cut(
    model: nn.Module,
    masks: Masks,
    objective: Objective,
    work: Samples,
    held_out: Samples,
    context: Context,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    stage: str,
    threshold: float | None,
    tolerance: float,
) -> Tuned:
    """Tune masks on the norms' weights (SGD with momentum 0.9, kept in [0, 1]); the model itself is cut by them."""
    losses = tune(
        objective,
        torch.optim.SGD(masks.factors, learning_rate, momentum=0.9),
        work,
        context,
        steps=steps,
        batch=batch,
        stage=stage,
        project=masks.clamp_,
    )
    found = masks.state()
    network, notes = cut_by_rule(
        model, found, held_out, context, placement="norm", threshold=threshold, tolerance=tolerance
    )
    return Tuned(model=network, masks=found, losses=tuple(losses), notes=notes)


def cut_by_rule(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    held_out: Samples,
    context: Context,
    *,
    placement: Placement,
    threshold: float | None,
    tolerance: float,
) -> tuple[nn.Module, dict[str, float | str]]:
    """The network without the units whose mask is at most a threshold: the given one, or where None, `furthest`."""
    if threshold is not None:
        return context.execution.place(cut(model, masks, threshold, placement)), {"threshold": threshold}
    prune = partial(cut, model, masks, placement=placement)
    return furthest(prune, THRESHOLDS, model, held_out, context, tolerance=tolerance)


@torch.no_grad()
def cut(model: nn.Module, masks: Mapping[str, Tensor], threshold: float, placement: Placement | Predicate) -> nn.Module:
    """The network without the units whose mask is at most the threshold; all others as they are."""
    kept = Masks(model, placement, statistics="frozen")
    for name, factor in zip(kept.names, kept.factors, strict=True):
        factor.copy_(masks[name] > threshold)
    return kept.fold()
