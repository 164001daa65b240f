"""One job after the other, in this process: for a debugger, and for tests."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from detrojan.bench.workers import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """No other process; a job is done when it is handed over."""

    def start(self) -> "Here":
        """This process."""
        return Here()


class Here:
    """The worker that is this process."""

    count = 1

    def submit(self, job: Job, *arguments: Any) -> "Future[Any]":
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(job(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to let go."""


METHOD = Inline
