"""Fixtures that many tests share; tests that need the data packs skip with the reason where they are missing."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def _packs() -> Path:
    return Path(os.environ.get("DETROJAN_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_worker():
    """Threads that share cores spin at barriers; each worker of a parallel run gets one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data packs."""
    path = _packs()
    if not (path / "cifar10-test.npz").exists():
        pytest.skip(f"needs the data packs: no cifar10-test.npz under {path} (set DETROJAN_DATA)")
    return path


@pytest.fixture(scope="session")
def shared_checkpoints() -> Path:
    """The folder of backdoored models that others trained."""
    path = _packs().parent / "checkpoints"
    if not path.is_dir():
        pytest.skip(f"needs the checkpoints of others: no folder {path}")
    return path
