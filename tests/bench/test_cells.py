"""A key is all that a result depends on, and nothing else."""

import ast
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benching import CELL, VICTIM
from detrojan.bench import grid, versions
from detrojan.bench.cells import Clean, VictimSpec
from detrojan.bench.versions import code_version
from detrojan.errors import BadArgument, UnknownName

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_name_that_is_shown_is_no_part_of_a_key():
    assert replace(CELL, shown="other").key == CELL.key
    assert replace(CELL, victim=replace(VICTIM, shown="other")).key == CELL.key


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"settings": {"steps": 6}},
        {"defense": "shrink_distil"},
        {"clean": Clean(count=20)},
        {"clean": Clean(per_class=2, kind="corrupted")},
        {"victim": replace(VICTIM, seed=1)},
        {"victim": replace(VICTIM, target=3)},
        {"victim": replace(VICTIM, attack_settings={"size": 9})},
        {"victim": replace(VICTIM, recipe={"epochs": 9})},
        {"victim": replace(VICTIM, start="resnet50.pth")},
        {"charted": True},
    ],
    ids=str,
)
def test_everything_else_is(changed):
    assert replace(CELL, **changed).key != CELL.key


def test_a_method_with_other_code_is_another_cell(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text('"""A method."""\nclass Method:\n    rate = 1\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    versions._version.cache_clear()
    from theirs import Method

    first = code_version(Method())
    (tmp_path / "theirs.py").write_text('"""A method, told in other words."""\nclass Method:\n    rate = 1  # one\n')
    versions._version.cache_clear()
    assert code_version(Method()) == first
    (tmp_path / "theirs.py").write_text('"""A method."""\nclass Method:\n    rate = 2\n')
    versions._version.cache_clear()
    assert code_version(Method()) != first


def test_the_helpers_of_a_method_are_part_of_its_code():
    assert "detrojan.attacks._checks" in versions._with_helpers("detrojan.attacks.blend", set())


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Clean(), BadArgument, "either count or per_class"),
        (lambda: Clean(count=5, per_class=1), BadArgument, "either count or per_class"),
        (lambda: VictimSpec(scale="smal"), UnknownName, "did you mean 'small'"),
        (lambda: VictimSpec(kept=0), BadArgument, "kept must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


SOURCE = """
def first(x: int, /, *rest, y=None) -> str:
    return f"{x!r:>{y}}" if rest else b"no"

class Second:
    pass
"""


def test_every_python_writes_a_syntax_tree_alike():
    tree = ast.parse(SOURCE)
    assert hashlib.sha256(versions._written(tree).encode()).hexdigest()[:12] == "dbaa5cbc0673"
    if sys.version_info[:2] == (3, 11):
        assert versions._written(tree) == ast.dump(tree)


@pytest.mark.parametrize(
    "name",
    [
        *("table1-cifar10", "rivals-cifar10", "five-cifar10", "calibration", "strength-cifar10", "abl-cifar10"),
        *("few-cifar10", "parts-cifar10"),
        *("pointcloud", "video", "multilabel", "text"),
    ],
)
def test_the_published_rows_belong_to_the_code_as_it_stands(name):
    """Else run the bench anew, or declare in `versions.UNCHANGED` that a rewrite changed no figure."""
    published = {json.loads(line)["key"] for line in (BENCHMARKS / f"{name}.jsonl").read_text().splitlines()}
    assert published == grid.read(grid.named(name)).keys
