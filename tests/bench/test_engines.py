"""Every engine does its jobs, hands errors on, and says when a worker is lost."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

import benching
from benching import die, double, refuse
from detrojan.bench.engines import ENGINES
from detrojan.bench.engines.processes import Processes
from detrojan.bench.workers import WorkerLost
from detrojan.errors import BadArgument


@pytest.fixture(params=list(ENGINES))
def workers(request, monkeypatch):
    if request.param == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv("PYTHONPATH", str(Path(benching.__file__).parent))  # the jobs' module, for Ray's workers
    started = ENGINES[request.param]().start()
    yield started
    started.close()


def test_jobs_are_done_and_errors_handed_on(workers):
    futures = [workers.submit(double, i) for i in range(workers.count + 2)]
    assert [future.result(120) for future in futures] == [2 * i for i in range(workers.count + 2)]
    with pytest.raises(BadArgument, match="no"):
        workers.submit(refuse).result(120)


def test_a_process_that_dies_takes_no_other_with_it():
    pool = Processes(workers=2).start()
    try:
        dead, alive = pool.submit(die), pool.submit(double, 4)
        assert alive.result(60) == 8
        with pytest.raises(WorkerLost):
            dead.result(60)
        assert pool.submit(double, 5).result(60) == 10
    finally:
        pool.close()


def test_a_process_that_dies_while_it_is_idle_is_replaced():
    pool = Processes(workers=1).start()
    try:
        os.kill(pool.submit(os.getpid).result(60), signal.SIGKILL)
        patience = time.monotonic() + 60
        while not pool._idle[0]._broken and time.monotonic() < patience:
            time.sleep(0.01)
        assert pool.submit(double, 5).result(60) == 10
        assert len(pool._idle) == 1
    finally:
        pool.close()


@pytest.mark.parametrize(("asked", "threads"), [(None, os.cpu_count()), ("1", 1)])
def test_a_lone_process_has_all_cores_unless_the_environment_says_otherwise(monkeypatch, asked, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("detrojan.bench.engines.processes._cores", lambda: os.cpu_count())
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    pool = Processes(workers=1).start()
    try:
        assert pool.submit(torch.get_num_threads).result(60) == threads
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("processes", {"workers": -1}, "workers must be at least 1"),
        ("ray", {"cpus": 0}, "cpus must be above 0"),
        ("ray", {"gpus": -1}, "gpus must be at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        ENGINES.build(name, **settings)
