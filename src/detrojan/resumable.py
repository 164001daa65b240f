"""A training that can be interrupted: all that changes, as one file that says whose it is."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from detrojan.errors import BadArgument, BadFile
from detrojan.feeds import Feed
from detrojan.tasks import Task
from detrojan.whole_files import beside


@dataclass(slots=True, kw_only=True)
class Resumable:
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
        """Write all of it, in place of what was there."""
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
        """Go on from there.

        Raises:
            BadFile: it is damaged.
            BadArgument: it is another training's.
        """
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


def told(model: nn.Module, task: Task) -> str:
    """A network before its training and its task, with a hash of their settings and of the weights to start from."""
    digest = hashlib.sha256(re.sub(" at 0x[0-9a-f]+", "", f"{model} {task}").encode())  # addresses differ in each run
    for tensor in model.state_dict().values():
        if isinstance(tensor, Tensor):
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    weights = sum(p.numel() for p in model.parameters())
    return f"{type(model).__name__} of {weights} weights ({digest.hexdigest()[:12]})"
