"""A Ray cluster of two nodes on this machine: jobs go to both, and those of a node that dies are done by the other."""

import threading
import time
from pathlib import Path

import pytest

import benching
from benching import cells
from detrojan.bench import stragglers
from detrojan.bench import sweep as room
from detrojan.bench.engines.ray import Ray
from detrojan.bench.store import Store
from detrojan.bench.sweep import sweep

pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(benching.__file__).parent))  # the jobs' module, for Ray's workers
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_a_node_that_dies_takes_no_cell_with_it(cluster, monkeypatch, tmp_path):
    (other,) = cluster.worker_nodes
    monkeypatch.setattr(stragglers, "PATIENCE", 1000.0)  # no idle worker is to help
    monkeypatch.setattr(room, "make_victim", benching.touch_victim)
    monkeypatch.setattr(room, "run_cell", benching.cell_on_a_node)
    (tmp_path / "hangs").write_text(other.node_id)
    wanted, told, lost = cells(6), [], []

    def begun(cell):
        notes = tmp_path / "v" / cell.key
        return notes.read_text().split() if notes.is_file() else []

    def kill():
        while not lost:
            time.sleep(0.05)
            lost.extend(cell for cell in wanted if begun(cell) == [other.node_id])
        cluster.remove_node(other, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with Store(tmp_path / "rows.db") as store:
        outcome = sweep(
            wanted, store, tmp_path / "v", Ray(address=cluster.address), on_progress=lambda p: told.append(p.job.key)
        )
        assert (outcome.made, outcome.failures) == (7, {})
        assert store.keys() == {cell.key for cell in wanted} | {wanted[0].victim.key}
    killer.join()
    assert len(told) == len(set(told)) == 7
    (cell,) = lost
    assert begun(cell)[0] == other.node_id
    assert len(begun(cell)) == 2  # and again on the node that is left
