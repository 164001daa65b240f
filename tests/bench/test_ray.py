"""A Ray cluster of two nodes on this machine: jobs go to both, and those of a node that dies are done by the other."""

from pathlib import Path

import pytest

import benching
from benching import cells
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
    monkeypatch.setattr(room, "make_victim", benching.touch_victim)
    monkeypatch.setattr(room, "run_cell", benching.slow_cell)
    wanted, told, lost = cells(8), [], []
    (other,) = cluster.worker_nodes

    def begun(cell):
        notes = tmp_path / "v" / cell.key
        return notes.read_text().split() if notes.is_file() else []

    def kill_once(progress):
        told.append(progress.job.key)
        lost.extend(cell for cell in wanted if begun(cell) == [other.node_id] and cell.key not in told and not lost)
        if lost and other in cluster.worker_nodes:
            cluster.remove_node(other, allow_graceful=False)

    with Store(tmp_path / "rows.db") as store:
        outcome = sweep(wanted, store, tmp_path / "v", Ray(address=cluster.address), on_progress=kill_once)
        assert (outcome.made, outcome.failures) == (9, {})
        assert store.keys() == {cell.key for cell in wanted} | {wanted[0].victim.key}
    assert len(told) == len(set(told)) == 9
    assert [len(begun(cell)) for cell in lost] == [2]  # begun on the node that died, and again on the other
