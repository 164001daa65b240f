"""From cells to rows: victims first, each once, then the cells that wait for them; nothing is done twice."""

import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detrojan.bench.cells import Cell, VictimSpec
from detrojan.bench.origin import origin
from detrojan.bench.store import Row, Store
from detrojan.bench.stragglers import PATIENCE, Stragglers
from detrojan.bench.workers import Engine, WorkerLost, Workers
from detrojan.bench.working import make_victim, run_cell, weights_of
from detrojan.errors import DetrojanError

TRIES = 3
NO_VICTIM = "its victim could not be made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A job that ended: its row, or why there is none; and how many are done of all that had to be."""

    done: int
    total: int
    job: VictimSpec | Cell
    row: Row | None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a sweep came to: rows made now, rows that were there before, and the sentence of each job that failed."""

    made: int
    found: int
    failures: dict[str, str] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def sweep(
    cells: Iterable[Cell],
    store: Store,
    folder: Path,
    engine: Engine,
    *,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Make the rows of all cells, and of their victims, in a store that is open for writing.

    A job whose worker is lost is given to another, three times in all; a cell that takes far longer than others of its
    defense is given to an idle worker as well, and the first answer counts. A job that fails is told in the outcome and
    does not stop the others; the cells of a victim that failed are left out.

    Args:
        cells: what is wanted; cells with the same key are one.
        store: where the rows go.
        folder: where the victims lie.
        engine: where the jobs run.
        device: of each job.
        on_progress: called after each job.
    """
    plan = _Plan(cells, store, folder)
    workers = engine.start()
    try:
        return _Sweep(plan=plan, store=store, workers=workers, device=device, on_progress=on_progress).run()
    finally:
        workers.close()


class _Plan:
    """What has to be done: the victims that are missing, and the missing cells by their victim's key."""

    def __init__(self, cells: Iterable[Cell], store: Store, folder: Path) -> None:
        self.folder = folder
        wanted = {cell.key: cell for cell in cells}
        victims = {cell.victim.key: cell.victim for cell in wanted.values()}
        there = store.keys()
        self.missing = {key: cell for key, cell in wanted.items() if key not in there}
        needed = {cell.victim.key for cell in self.missing.values()}
        self.victims = {
            key: spec  # whose row is there, but not its weights, is made again; the row, and what rests on it, stay
            for key, spec in victims.items()
            if key not in there or (key in needed and not weights_of(spec, folder).is_file())
        }
        self.total = len(self.missing) + len(self.victims)
        self.found = len(wanted) + len(victims) - self.total

    def waiting_for(self, victim: str) -> list[Cell]:
        return [cell for cell in self.missing.values() if cell.victim.key == victim]


@dataclass(slots=True, kw_only=True)
class _Sweep:
    """The state of a running sweep; this process alone writes."""

    plan: _Plan
    store: Store
    workers: Workers
    device: str
    on_progress: OnProgress | None
    ready: list[VictimSpec | Cell] = field(default_factory=list)
    out: dict["Future[Any]", VictimSpec | Cell] = field(default_factory=dict)
    stragglers: Stragglers = field(default_factory=Stragglers)
    tries: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)

    @property
    def ended(self) -> int:
        return len(self.answered)

    def run(self) -> Outcome:
        victims = self.plan.victims
        self.ready = [cell for cell in self.plan.missing.values() if cell.victim.key not in victims]
        self.ready += victims.values()
        while self.ended < self.plan.total:
            while self.ready and len(self.out) < self.workers.count:
                self._hand_out(self.ready.pop(0))
            self._double_late_cells()
            finished, _ = wait(self.out, timeout=PATIENCE, return_when=FIRST_COMPLETED)
            for future in finished:
                self._take(self.out.pop(future), future)
        return Outcome(made=self.ended - len(self.failures), found=self.plan.found, failures=self.failures)

    def _hand_out(self, job: VictimSpec | Cell) -> None:
        work = run_cell if isinstance(job, Cell) else make_victim
        if isinstance(job, Cell):
            self.stragglers.begin(job)
        self.out[self.workers.submit(work, job, self.plan.folder, self.device)] = job

    def _double_late_cells(self) -> None:
        """A cell writes no file, so that two workers can do it, once; a victim cannot be doubled."""
        for cell in self.stragglers.late():
            copies = sum(job.key == cell.key for job in self.out.values())
            if copies == 1 and cell.key not in self.doubled and len(self.out) < self.workers.count:
                self.doubled.add(cell.key)
                self._hand_out(cell)

    def _take(self, job: VictimSpec | Cell, future: "Future[Any]") -> None:
        """Note an answer; of a cell that two workers do, the first that is no failure counts."""
        error = future.exception()
        doubled = any(other.key == job.key for other in self.out.values())
        if job.key in self.answered:
            return
        if isinstance(error, WorkerLost):
            self.tries[job.key] = self.tries.get(job.key, 0) + 1
        if error is not None and doubled:
            return
        if isinstance(error, WorkerLost):
            if isinstance(job, Cell):
                self.stragglers.forget(job)
            if self.tries[job.key] < TRIES:
                self.ready.insert(0, job)
            else:
                self._fail(job, f"its worker died {TRIES} times ({error}); look at the memory that it needs")
        elif error is not None:
            if not isinstance(error, Exception):
                raise error
            told = str(error) if isinstance(error, DetrojanError) else "".join(traceback.format_exception(error))
            self._fail(job, told)
        else:
            self._keep(job, future.result())

    def _keep(self, job: VictimSpec | Cell, result: Any) -> None:
        kind = "cell" if isinstance(job, Cell) else "victim"
        row = Row(key=job.key, kind=kind, spec=asdict(job), result=result, origin=origin())
        try:
            self.store.put(row)
        except (TypeError, ValueError) as reason:  # of a stranger's defense
            self._fail(job, f"its notes or settings hold what JSON cannot ({reason}); use numbers and words")
            return
        self._tell(job, row)
        if isinstance(job, VictimSpec):
            self.ready[:0] = self.plan.waiting_for(job.key)

    def _fail(self, job: VictimSpec | Cell, sentence: str) -> None:
        self.failures[job.key] = sentence
        self._tell(job, None, sentence)
        if isinstance(job, VictimSpec):
            for cell in self.plan.waiting_for(job.key):
                self._fail(cell, NO_VICTIM)

    def _tell(self, job: VictimSpec | Cell, row: Row | None, failure: str = "") -> None:
        self.answered.add(job.key)
        if isinstance(job, Cell):
            self.stragglers.end(job)
        if self.on_progress is not None:
            self.on_progress(Progress(done=self.ended, total=self.plan.total, job=job, row=row, failure=failure))
