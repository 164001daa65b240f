"""Ray: on this machine, or on the cluster whose address is given."""

import logging
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from detrojan.bench.workers import Job, WorkerLost
from detrojan.errors import BadArgument, MissingExtra


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    """Jobs as Ray tasks that ask for `cpus`, `gpus` and `memory` bytes each (0: not asked for).

    `address` is that of a cluster's head, `auto` the cluster that this machine belongs to; empty starts Ray here. The
    nodes need Detrojan, the data (`DETROJAN_DATA`) and the folder of the victims at the same paths. `workers` limits
    the tasks that are out at a time; 0 takes as many as the cluster's cores allow.
    """

    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if self.cpus <= 0:
            raise BadArgument(f"cpus must be above 0, got {self.cpus}")
        for name in ("gpus", "memory", "workers"):
            if getattr(self, name) < 0:
                raise BadArgument(f"{name} must be at least 0, got {getattr(self, name)}")

    def start(self) -> "Cluster":
        """Join the cluster, or start one."""
        return Cluster(self)


class Cluster:
    """A Ray cluster as workers."""

    def __init__(self, settings: Ray) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("the engine ray needs the package ray: pip install 'detrojan[ray]'") from error
        self._ray, self._own = ray, not ray.is_initialized()
        if self._own:
            here = {} if settings.address else {"include_dashboard": False}
            ray.init(address=settings.address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
        there = ray.cluster_resources()
        asked = {"CPU": settings.cpus, "GPU": settings.gpus}
        room = min(there.get(name, 0) / amount for name, amount in asked.items() if amount)
        if room < 1:
            raise BadArgument(
                f"a job asks for {settings.cpus:g} CPU and {settings.gpus:g} GPU, and the cluster has "
                f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}; ask for less"
            )
        told = ray.exceptions
        self._lost = (
            *(told.WorkerCrashedError, told.NodeDiedError, told.LocalRayletDiedError),
            *(told.OutOfMemoryError, told.ObjectLostError),
        )
        self.count = settings.workers or int(room)
        self._out: set[Any] = set()
        self._options: dict[str, Any] = {"num_cpus": settings.cpus, "num_gpus": settings.gpus, "max_retries": 0}
        if settings.memory:
            self._options["memory"] = settings.memory

    def submit(self, job: Job, *arguments: Any) -> "Future[Any]":
        """Make a task of it."""
        answer: Future[Any] = Future()
        threads = max(1, int(self._options["num_cpus"]))

        def hand_on(done: "Future[Any]") -> None:
            error = done.exception()
            self._out.discard(task)
            if isinstance(error, self._lost):
                answer.set_exception(WorkerLost(str(error)))
            elif isinstance(error, self._ray.exceptions.RayTaskError):
                answer.set_exception(error.cause if isinstance(error.cause, Exception) else error)
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())

        task = self._ray.remote(**self._options)(_threaded).remote(threads, job, *arguments)
        self._out.add(task)
        task.future().add_done_callback(hand_on)
        return answer

    def close(self) -> None:
        """Leave the cluster and what still runs there; one that was started here ends."""
        for task in tuple(self._out):
            self._ray.cancel(task, force=True)
        if self._own:
            self._ray.shutdown()


def _threaded(threads: int, job: Job, *arguments: Any) -> Any:
    import torch

    torch.set_num_threads(threads)
    return job(*arguments)


METHOD = Ray
