"""The one training loop: victims, surrogates, teachers and fine-tuning all use it."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData
from detrojan.execution import Execution
from detrojan.feeds import Feed, Plain
from detrojan.progress import OnStep, Step
from detrojan.randomness import Seeds
from detrojan.recipe import Recipe, can_shrink
from detrojan.resumable import Resumable, told
from detrojan.tasks import Classification, Task

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def fit(
    model: nn.Module,
    source: Samples | Feed,
    *,
    preprocessing: Preprocessing,
    recipe: Recipe,
    execution: Execution,
    seed: int = 0,
    on_step: OnStep | None = None,
    stage: str = "training",
    state: Path | None = None,
    augment: Augmentation | None = None,
    task: Task | None = None,
) -> list[float]:
    """Train a network that the caller owns, in place, on stored samples; returns the mean loss of each epoch.

    The data lie on the device, where it has room for them, and are augmented there in batches. The last, smaller batch
    of an epoch is dropped unless it is the only one.

    Args:
        model: the network.
        source: stored samples, or a feed that makes the batches.
        preprocessing: what stands between the stored inputs and the network.
        recipe: how it is trained.
        execution: where and in which precision.
        seed: draws the batches and the augmentation.
        on_step: called after every step.
        stage: what `on_step` is told is being done.
        state: a file that is written after each epoch. Where it exists already, training goes on from it, and ends
            with the same network as without the interruption. The caller removes it when all is done. A sharded
            training (FSDP2) keeps none; of several processes the first one writes, and all must see the file.
        augment: what stands in for the recipe's crop and flip, where the samples are neither images nor clips.
        task: what the loss is, and how the network is run; one class a sample by default.

    Raises:
        BadData: fewer than two samples.
        BadArgument: the loss became NaN or infinite, `state` is of another run, or samples that cannot shrink would.
        BadFile: `state` is damaged.
    """
    doing: Task = task or Classification()
    feed: Feed = Plain(source, execution.device) if isinstance(source, Samples) else source
    _check(feed, recipe)
    preprocessing.check(doing.labels)
    seeds = Seeds(seed=seed)
    generator = seeds.generator("batches", execution.device)
    per_epoch = max(1, len(feed) // recipe.batch)
    total = recipe.epochs * per_epoch
    network = execution.place(copy.deepcopy(model) if execution.sharded else model).train()
    optimizer = recipe.optimizer(network)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.rate(step, total))
    run = Resumable(
        name=""
        if state is None
        else f"{told(model, doing)} on {feed.name} by {recipe}, {preprocessing}, {execution}, seed {seed}",
        model=network,
        feed=feed,
        optimizer=optimizer,
        schedule=schedule,
        generator=generator,
    )
    classify = classifier(network, preprocessing, execution, doing)

    def augmented(inputs: Tensor) -> Tensor:
        return (augment or recipe.augment)(inputs, generator)

    with seeds.seeded("dropout"):
        if state is not None and state.exists():
            run.read(state)
        for epoch in range(len(run.losses), recipe.epochs):
            feed.begin(epoch, classify)
            epoch_losses = []
            for chosen in _batches(len(feed), recipe.batch, generator):
                images, labels = feed.batch(chosen, augmented, generator)
                inputs = preprocessing(doing.teach(images, labels))
                if epoch < recipe.small * recipe.epochs:
                    inputs = F.interpolate(inputs, scale_factor=0.75, mode="bilinear", antialias=True)
                outputs = doing.forward(execution.run, network, inputs)
                loss = doing.loss(outputs, labels, label_smoothing=recipe.label_smoothing).mean()
                extra = feed.penalty(doing, outputs, labels)
                loss = loss if extra is None else loss + extra
                optimizer.zero_grad()
                loss.backward()
                execution.step(optimizer)
                schedule.step()
                epoch_losses.append(loss.detach())
                if on_step is not None:
                    index = epoch * per_epoch + len(epoch_losses)
                    on_step(Step(index=index, total=total, loss=float(loss.detach()), stage=stage))
            run.losses.append(float(torch.stack(epoch_losses).mean()))
            if not torch.isfinite(epoch_losses[-1]):
                raise BadArgument(
                    f"training diverged in epoch {epoch + 1}; use a lower learning rate than {recipe.learning_rate}"
                )
            if state is not None and execution.keeps_state:
                run.write(state)
    execution.give_back(network, model)
    model.eval()
    return run.losses


def _check(feed: Feed, recipe: Recipe) -> None:
    if len(feed) < 2:
        raise BadData(f"training needs at least two samples, got {len(feed)}")
    if recipe.small > 0 and not can_shrink(feed.samples):
        raise BadArgument(
            f"images alone shrink, and boxes do not shrink with theirs; set the recipe's small to 0 for "
            f"{feed.samples.name}, got {recipe.small}"
        )


def classifier(
    model: nn.Module, preprocessing: Preprocessing, execution: Execution, task: Task | None = None
) -> Callable[[Tensor], Tensor]:
    """Scores (B, K) of pixels (B, C, H, W) in [0, 1] in eval mode, differentiable; the network's mode is given back."""
    doing: Task = task or Classification()

    def classify(pixels: Tensor) -> Tensor:
        mode = model.training
        model.eval()
        with execution.running():
            outputs = doing.forward(_directly, model, execution.feed(preprocessing(pixels)))
            scores = doing.logits(outputs)
        model.train(mode)
        return scores

    return classify


def _directly(network: Callable[[Tensor], Any], inputs: Tensor) -> Any:
    return network(inputs)


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator, device=generator.device)
    yield from order.split(size)[: max(1, count // size)]
