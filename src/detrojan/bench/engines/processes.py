"""Several processes on this machine."""

import multiprocessing
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from detrojan.bench.workers import Job, WorkerLost
from detrojan.errors import BadArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """`workers` processes (0: one for each core).

    They share the cores evenly, unless `OMP_NUM_THREADS` says how many threads each has. Each has a
    pool of one, so that a process that is killed takes no other's job with it.
    """

    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise BadArgument(f"workers must be at least 1, or 0 for one each core, got {self.workers}")

    def start(self) -> "Pool":
        """Start them."""
        return Pool(self.workers or _cores())


class Pool:
    """Single processes, each of which is replaced when it dies."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: set[ProcessPoolExecutor] = set()

    def submit(self, job: Job, *arguments: Any) -> "Future[Any]":
        """Give the job to an idle process, or to a new one."""
        process = self._idle.pop() if self._idle else self._started()
        self._busy.add(process)
        answer: Future[Any] = Future()

        def hand_on(done: "Future[Any]") -> None:
            self._busy.discard(process)
            error = done.exception()
            if isinstance(error, BrokenProcessPool):
                answer.set_exception(WorkerLost(str(error)))
            else:
                self._idle.append(process)
                answer.set_result(done.result()) if error is None else answer.set_exception(error)

        try:
            process.submit(job, *arguments).add_done_callback(hand_on)
        except BrokenProcessPool:  # it died while it was idle
            self._busy.discard(process)
            return self.submit(job, *arguments)
        return answer

    def close(self) -> None:
        """Stop idle processes, and kill those that still work."""
        for process in (*self._idle, *self._busy):
            for child in (process._processes or {}).values():
                child.terminate()
            process.shutdown(wait=False, cancel_futures=True)
        self._idle.clear()

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        threads = max(1, _cores() // self.count)
        return ProcessPoolExecutor(1, mp_context=context, initializer=_prepare, initargs=(threads,))


def _prepare(threads: int) -> None:
    if "OMP_NUM_THREADS" not in os.environ:  # which torch itself follows
        torch.set_num_threads(threads)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End with the sweep, however it ended: a job that went on alone would write beside that of the next sweep."""
    sweep = multiprocessing.parent_process()
    if sweep is not None:
        sweep.join()
        os._exit(1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


METHOD = Processes
