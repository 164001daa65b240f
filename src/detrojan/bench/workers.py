"""What every engine gives: a number of workers that jobs are handed to, and that may be lost."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

Job = Callable[..., Any]


class WorkerLost(Exception):
    """The process or the machine that a job ran on is gone; the job can be given to another."""


class Workers(Protocol):
    """Runs jobs at the same time, `count` of them."""

    count: int

    def submit(self, job: Job, *arguments: Any) -> "Future[Any]":
        """Hand a job to a worker; its future fails with `WorkerLost` where the worker died."""

    def close(self) -> None:
        """Let the workers go, and whatever they still do."""


class Engine(Protocol):
    """The settings of an engine."""

    def start(self) -> Workers:
        """Get the workers."""
