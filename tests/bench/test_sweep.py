"""A sweep makes each row once, survives what dies, and tells what fails."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from benching import CELL, VICTIM, cells, share
from detrojan.bench import stragglers
from detrojan.bench import sweep as room
from detrojan.bench.engines.inline import Inline
from detrojan.bench.store import Store
from detrojan.bench.sweep import sweep
from detrojan.bench.workers import WorkerLost
from detrojan.bench.working import weights_of
from detrojan.errors import BadData


@pytest.fixture
def told(monkeypatch):
    """The jobs that were done, in order; nothing is trained."""
    done = []

    def make_victim(spec, folder, device):
        done.append(spec.key)
        folder.mkdir(exist_ok=True)
        weights_of(spec, folder).touch()
        return {"acc": share(0.9), "asr": share(1.0), "seconds": 1.0}

    def run_cell(cell, folder, device):
        assert weights_of(cell.victim, folder).is_file()
        done.append(cell.key)
        return {"acc": share(0.8), "asr": share(0.1), "cost": {"seconds": 1.0}}

    monkeypatch.setattr(room, "make_victim", make_victim)
    monkeypatch.setattr(room, "run_cell", run_cell)
    return done


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "rows.db") as store:
        yield store


def test_victims_are_made_once_and_before_their_cells(told, store, tmp_path):
    wanted = cells(6, victims=2)
    seen = []
    outcome = sweep([*wanted, *wanted], store, tmp_path / "v", Inline(), on_progress=seen.append)
    assert (outcome.made, outcome.found, outcome.failures) == (8, 0, {})
    assert len(told) == len(set(told)) == 8
    assert all(told.index(cell.victim.key) < told.index(cell.key) for cell in wanted)
    assert store.keys() == set(told)
    assert [p.done for p in seen] == list(range(1, 9))
    assert {p.total for p in seen} == {8}


def test_what_is_there_is_not_made_again(told, store, tmp_path):
    sweep(cells(4), store, tmp_path / "v", Inline())
    told.clear()
    outcome = sweep(cells(6), store, tmp_path / "v", Inline())
    assert (outcome.made, outcome.found) == (2, 5)
    assert len(told) == 2


def test_a_victim_whose_weights_are_gone_is_made_again_when_it_is_needed(told, store, tmp_path):
    sweep(cells(2), store, tmp_path / "v", Inline())
    weights_of(VICTIM, tmp_path / "v").unlink()
    told.clear()
    assert sweep(cells(2), store, tmp_path / "v", Inline()).made == 0
    assert sweep(cells(3), store, tmp_path / "v", Inline()).made == 2
    assert told == [VICTIM.key, cells(3)[2].key]


def test_a_job_that_fails_stops_no_other(told, store, tmp_path, monkeypatch):
    good, bad = VICTIM, replace(VICTIM, seed=5)

    def make_victim(spec, folder, device):
        if spec.seed == 5:
            raise BadData("no image of class 3")
        folder.mkdir(exist_ok=True)
        weights_of(spec, folder).touch()
        return {"acc": share(0.9), "seconds": 1.0}

    monkeypatch.setattr(room, "make_victim", make_victim)
    wanted = [replace(CELL, victim=bad), replace(CELL, victim=good)]
    outcome = sweep(wanted, store, tmp_path / "v", Inline())
    assert outcome.made == 2
    assert outcome.failures[bad.key] == "no image of class 3"
    assert outcome.failures[wanted[0].key] == "its victim could not be made"
    assert store.keys() == {good.key, wanted[1].key}


class Dying:
    """Workers of which each job's first `deaths` tries are lost."""

    def __init__(self, deaths):
        self.count, self.deaths, self.tries = 2, deaths, {}

    def start(self):
        return self

    def submit(self, job, *arguments):
        future, key = Future(), arguments[0].key
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.tries[key] <= self.deaths:
            future.set_exception(WorkerLost("the node is gone"))
        else:
            future.set_result(job(*arguments))
        return future

    def close(self):
        pass


def test_a_lost_worker_loses_no_cell_and_doubles_none(told, store, tmp_path):
    outcome = sweep(cells(3), store, tmp_path / "v", Dying(deaths=2))
    assert (outcome.made, outcome.failures) == (4, {})
    assert len(store) == 4
    assert len(told) == 4


class Stuck:
    """Two workers; the first try of one cell never ends."""

    count = 2

    def __init__(self, stuck):
        self.stuck, self.tries = stuck, []

    def start(self):
        return self

    def submit(self, job, *arguments):
        future = Future()
        self.tries.append(arguments[0].key)
        if arguments[0].key != self.stuck or self.tries.count(self.stuck) > 1:
            future.set_result(job(*arguments))
        return future

    def close(self):
        pass


def test_a_cell_that_hangs_is_done_by_an_idle_worker(told, store, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)
    wanted = cells(6)
    workers = Stuck(wanted[2].key)
    outcome = sweep(wanted, store, tmp_path / "v", workers)
    assert (outcome.made, outcome.failures, len(store)) == (7, {}, 7)
    assert workers.tries.count(wanted[2].key) == 2
    assert len(workers.tries) == 8


class Failing(Stuck):
    """Two workers; the first try of one cell hangs until its second try has failed, and then ends well."""

    def __init__(self, stuck, error):
        super().__init__(stuck)
        self.error, self.first = error, None

    def submit(self, job, *arguments):
        future = super().submit(job, *arguments)
        if arguments[0].key == self.stuck and self.first is None:
            self.first, self.work = future, (job, arguments)
        elif arguments[0].key == self.stuck:
            future = Future()
            future.set_exception(self.error)
            job, arguments = self.work
            threading.Timer(0.2, lambda: self.first.set_result(job(*arguments))).start()
        return future


@pytest.mark.parametrize("error", [RuntimeError("no memory for two"), WorkerLost("killed")], ids=str)
def test_the_helper_of_a_late_cell_may_fail(told, store, tmp_path, monkeypatch, error):
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)
    wanted = cells(6)
    workers = Failing(wanted[2].key, error)
    outcome = sweep(wanted, store, tmp_path / "v", workers)
    assert (outcome.made, outcome.failures) == (7, {})
    assert workers.tries.count(wanted[2].key) == 2


def test_a_cell_is_late_until_its_worker_is_lost(monkeypatch):
    clock = iter([0.0, 10.0] * 3 + [100.0, 129.0, 131.0, 131.0])
    monkeypatch.setattr(stragglers.time, "monotonic", lambda: next(clock))
    watch = stragglers.Stragglers()
    for cell in cells(3):
        watch.begin(cell)
        watch.end(cell)
    slow = replace(CELL, seed=9)
    watch.begin(slow)
    assert watch.late() == []  # the others took ten seconds, this one 29 so far
    assert watch.late() == [slow]
    watch.forget(slow)
    assert watch.late() == []


def test_a_job_that_kills_every_worker_is_given_up(told, store, tmp_path):
    outcome = sweep(cells(1), store, tmp_path / "v", Dying(deaths=9))
    assert "its worker died 3 times (the node is gone)" in outcome.failures[VICTIM.key]
    assert len(store) == 0


def test_a_victim_that_is_made_again_takes_no_row_away(told, store, tmp_path, monkeypatch):
    sweep(cells(2), store, tmp_path / "v", Inline())
    weights_of(VICTIM, tmp_path / "v").unlink()
    before = {row.key: row for row in store}

    def fail(*_):
        raise BadData("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(room, "make_victim", fail)
        assert sweep(cells(3), store, tmp_path / "v", Inline()).failures
    assert {row.key: row for row in store} == before
    sweep(cells(3), store, tmp_path / "v", Inline())
    assert before.items() < {row.key: row for row in store}.items()


def test_a_result_that_is_no_json_fails_alone(told, store, tmp_path, monkeypatch):
    def run_cell(cell, folder, device):
        return {"acc": share(0.8), "notes": {"found": {1, 2}} if cell.seed == 1 else {}}

    monkeypatch.setattr(room, "run_cell", run_cell)
    wanted = cells(3)
    outcome = sweep(wanted, store, tmp_path / "v", Inline())
    assert list(outcome.failures) == [wanted[1].key]
    assert "hold what JSON cannot" in outcome.failures[wanted[1].key]
    assert outcome.made == 3
