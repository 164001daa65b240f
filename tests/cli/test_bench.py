"""The bench from the command line: rows, table, page, export, merge; and what a kill leaves behind."""

import json
import os
import subprocess
import sys
import time

import pytest

from detrojan.bench.store import Store

GRID = """
title = "Two digits"
seeds = [0, 1]
[victim]
data = "digits"
kept = 200
architecture_settings = { width = 4, in_channels = 1 }
recipe = { epochs = 2, small = 0.0, flip = false }
[clean]
per_class = 2
[attacks]
BadNets = { attack = "badnets", settings = { size = 8 } }
[defenses]
NFT = { defense = "nft", settings = { steps = 3 } }
shrink_distil = { defense = "shrink_distil", settings = { steps = 3 } }
"""


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "mine.toml").write_text(GRID)
    return tmp_path / "mine.toml"


def measured(folder):
    """What does not depend on the time of day: the figures of each row."""
    return {
        row.key: {name: row.result[name]["value"] for name in ("acc", "asr", "ra", "der") if name in row.result}
        for row in Store(folder / "rows.db")
    }


def test_rows_table_page_export_and_merge(detrojan, grid, tmp_path):
    store = tmp_path / "one"
    first = detrojan("bench", "run", grid, "--store", store, "--engine", "inline", "--seeds", "0", "--json")
    assert first.code == 0
    assert (first.document["made"], first.document["found"], first.document["failures"]) == (3, 0, {})
    assert "[3/3] BadNets seed 0, shrink_distil, 2 a class: ACC" in first.err
    again = detrojan("bench", "run", grid, "--store", store, "--engine", "inline", "--seeds", "0", "--json")
    assert (again.document["made"], again.document["found"]) == (0, 3)

    table = detrojan("bench", "table", grid, "--store", store)
    assert "| BadNets |" in table.out
    assert "2 cells of this grid have no row yet" in table.out
    page = detrojan("bench", "page", grid, "--store", store, "-o", tmp_path / "page.html", "--json")
    assert page.document["missing"] == 2
    assert "Two digits" in (tmp_path / "page.html").read_text()
    detrojan("bench", "export", "--store", store, "-o", tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["kind"] for row in rows} == {"victim", "cell"}
    assert all(row["acc.value"] > 0 for row in rows)

    lines = tmp_path / "rows.jsonl"
    assert detrojan("bench", "export", "--store", store, "--grid", grid, "-o", lines).code == 0
    again = detrojan("bench", "merge", lines, "--store", tmp_path / "three", "--json")
    assert again.document["taken"] == 3
    merged = detrojan("bench", "merge", store, "--store", tmp_path / "two", "--json")
    assert merged.document["taken"] == 3
    assert measured(tmp_path / "two") == measured(store)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "tinny"), "did you mean 'tiny'"),
        (("run", "tiny", "--engine", "rai"), "did you mean 'ray'"),
        (("run", "tiny", "--engine-arg", "workers=-2"), "workers must be at least 1"),
        (("table", "tiny", "--store", "nowhere"), "rows.db is not there"),
        (("merge", "nowhere"), "is not there"),
        (("add-method", "nowhere.py"), "is no Python file"),
    ],
)
def test_mistakes_are_one_sentence(detrojan, monkeypatch, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    outcome = detrojan("bench", *arguments)
    assert outcome.code != 0
    assert sentence in outcome.err
    assert arguments[0] != "merge" or not list(tmp_path.iterdir())


def test_a_reason_that_many_jobs_share_is_told_once(detrojan, grid, tmp_path, monkeypatch):
    monkeypatch.setenv("DETROJAN_DATA", str(tmp_path / "empty"))
    grid.write_text(grid.read_text().replace('data = "digits"', 'data = "cifar10"'))
    found = detrojan("bench", "run", grid, "--store", tmp_path / "s", "--engine", "inline")
    assert found.code == 1
    assert "0 rows made, 0 were there, 6 failed" in found.out
    assert "2 times: " in found.err
    assert "4 times: its victim could not be made" in found.err
    assert found.err.count("failed, as above") == 1


def test_a_sweep_that_is_killed_goes_on_to_the_same_rows(grid, tmp_path):
    def command(store):
        words = ["bench", "run", str(grid), "--store", str(tmp_path / store), "--engine-arg", "workers=1"]
        return [sys.executable, "-m", "detrojan", *words]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(command("killed"), stderr=subprocess.PIPE, env=environment)
    for line in killed.stderr:
        if line.startswith(b"[2/6]"):
            break
    time.sleep(0.1)  # somewhere in the next job
    killed.kill()  # with SIGKILL; its worker must follow, or the two would write to one file
    killed.wait()
    kept = measured(tmp_path / "killed")
    assert 2 <= len(kept) < 6
    for store in ("killed", "undisturbed"):
        subprocess.run(command(store), check=True, capture_output=True, env=environment, timeout=300)
    assert len(measured(tmp_path / "killed")) == 6
    assert measured(tmp_path / "killed") == measured(tmp_path / "undisturbed")
