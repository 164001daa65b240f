"""The one training loop: victims, surrogates, teachers and fine-tuning all use it."""

import copy
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import crop_and_flip
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData, BadFile
from detrojan.execution import Execution, resident
from detrojan.randomness import Seeds
from detrojan.tasks import Classification, Task
from detrojan.whole_files import beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of anything that lasts: `index` of `total` steps done, the loss of the last one, what is being done."""

    index: int
    total: int
    loss: float
    stage: str


OnStep = Callable[[Step], None]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle learning rate (linear up for `warmup` of the steps, linear to 0).

    With `adam`, AdamW takes its place (its `momentum` the first beta), as networks of sentences want it.

    `padding` is that of the random crop, in pixels; 0 with `flip` False trains without augmentation. The first
    `small` of the epochs (a share in [0, 1]) see images of three quarters of the side, which costs about half.
    """

    epochs: int = 16
    batch: int = 256
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup: float = 0.2
    padding: int = 2
    flip: bool = True
    small: float = 0.0
    adam: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("padding", 0), ("learning_rate", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= least:
                raise BadArgument(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "warmup", "small"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadArgument(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop and flip of a batch of images (B, C, H, W) or clips (B, C, T, H, W)."""
        return crop_and_flip(images, generator, padding=self.padding, flip=self.flip)


class Feed(Protocol):
    """Where training batches come from; what stands between the stored samples and the network's loss."""

    name: str
    """What tells this feed from others, for the state of an interrupted training."""
    samples: Samples
    """The stored samples that the batches are made of."""

    def __len__(self) -> int:
        """The number of samples."""

    def begin(self, epoch: int, classify: Callable[[Tensor], Tensor]) -> None:
        """Start an epoch (from 0); `classify` maps pixels in [0, 1] to the scores of the network as it is."""

    def batch(
        self, chosen: Tensor, augment: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The augmented inputs (B, ...) and labels (B,) of the samples `chosen` (B,), on the generator's device."""

    def penalty(self, task: Task, outputs: Any, labels: Tensor) -> Tensor | None:
        """What is added to the task's loss of a network's outputs and labels (B, ...), a scalar."""

    def snapshot(self) -> dict[str, Any]:
        """What must be kept to go on after an interruption; tensors and plain values only."""

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Take a snapshot back."""


class Plain:
    """Stored samples as they are, on the device where it has room for them."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples = samples
        self.inputs, self.labels = resident(samples.inputs, device), samples.labels.to(device)
        self.name = f"{len(samples)} of {samples.name}"

    def __len__(self) -> int:
        return len(self.labels)

    def begin(self, epoch: int, classify: Callable[[Tensor], Tensor]) -> None:
        """Nothing to prepare."""

    def batch(
        self, chosen: Tensor, augment: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The augmented samples."""
        inputs = self.inputs[chosen.to(self.inputs.device)].to(generator.device)
        return augment(inputs), self.labels[chosen]

    def penalty(self, task: Task, outputs: Any, labels: Tensor) -> Tensor | None:
        """Nothing."""

    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def resume(self, snapshot: dict[str, Any]) -> None:
        """Nothing changes."""


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
    optimizer = _optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step, total, recipe.warmup))
    run = _Run(
        name=""
        if state is None
        else f"{_told(model, doing)} on {feed.name} by {recipe}, {preprocessing}, {execution}, seed {seed}",
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


def can_shrink(samples: Samples) -> bool:
    """Whether a recipe's `small` has a meaning for these samples: images, and no boxes on them."""
    return samples.inputs.ndim == 4 and samples.label_kind != "boxes"


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


@dataclass(slots=True, kw_only=True)
class _Run:
    """All that changes while a network is trained, as one file; `name` tells whose it is."""

    name: str
    model: nn.Module
    feed: Feed
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    losses: list[float] = field(default_factory=list)

    @property
    def _on_cuda(self) -> bool:
        return self.generator.device.type == "cuda"

    def write(self, path: Path) -> None:
        kept = {
            "name": self.name,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "device dropout": torch.cuda.get_rng_state(self.generator.device) if self._on_cuda else None,
            "feed": self.feed.snapshot(),
        }
        with beside(path) as unfinished:
            torch.save(kept, unfinished)

    def read(self, path: Path) -> None:
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            theirs = kept["name"]
        except Exception as error:
            raise BadFile(
                f"{path} is no state of an interrupted training ({error}); remove it to start anew"
            ) from error
        if theirs != self.name:
            raise BadArgument(
                f"{path} is the state of another training ({theirs}, not {self.name}); remove it to start anew"
            )
        self.losses = kept["losses"]
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.generator.set_state(kept["generator"])
        torch.set_rng_state(kept["dropout"])
        if self._on_cuda:
            torch.cuda.set_rng_state(kept["device dropout"], self.generator.device)
        self.feed.resume(kept["feed"])


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.adam:
        betas = (recipe.momentum, 0.98)
        return torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, betas=betas, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def _told(model: nn.Module, task: Task) -> str:
    """A network before its training and its task, with a hash of their settings and of the weights to start from."""
    digest = hashlib.sha256(re.sub(" at 0x[0-9a-f]+", "", f"{model} {task}").encode())  # addresses differ in each run
    for tensor in model.state_dict().values():
        if isinstance(tensor, Tensor):
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    weights = sum(p.numel() for p in model.parameters())
    return f"{type(model).__name__} of {weights} weights ({digest.hexdigest()[:12]})"


def _one_cycle(step: int, total: int, warmup: float) -> float:
    rise = max(1, ceil(warmup * total))
    return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator, device=generator.device)
    yield from order.split(size)[: max(1, count // size)]
