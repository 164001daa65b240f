"""A stranger's task: the one that docs/architecture.md shows, as a file among the added methods."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from detrojan import evaluate, purify
from detrojan.errors import UnknownName
from detrojan.tasks import TASKS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


@pytest.fixture
def series(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?class Series.*?)```", DOCS.read_text(), re.DOTALL)[1]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "series.py").write_text(code)
    monkeypatch.setenv("DETROJAN_METHODS", str(tmp_path))
    return TASKS["series"]


def test_a_file_is_a_task(series):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14, 3))
    clean = (torch.randn(60, 2, 16), torch.arange(60) % 3)
    assert series(shift=2).augment(clean[0], torch.Generator()).shape == (60, 2, 16)
    result = purify(network, clean, task="series", method="nft", tolerance=1.0, seed=0)
    assert result.task == "series"
    assert evaluate(result.model, clean, task="series").metric == "ACC"


def test_without_the_file_it_is_unknown():
    with pytest.raises(UnknownName, match="series"):
        TASKS["series"]
