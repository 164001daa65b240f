from dataclasses import replace

import pytest

from detrojan import checkpoint
from detrojan.cli import stories
from detrojan.data.load import load

FEW = {
    "scenes": "count=400,size=32",
    "motions": "per_class=8,frames=4,size=24",
    "shapes": "per_class=8,points=32",
    "numerals": "count=200,length=20",
    "smalltalk": "count=200,length=16",
}


def test_the_demo_tells_the_whole_story(detrojan, tmp_path):
    out = tmp_path / "demo"
    outcome = detrojan("demo", "--out", out, "--json")
    assert outcome.code == 0
    document = outcome.document
    assert document["victim"]["acc"]["value"] >= 0.95
    assert document["victim"]["asr"]["value"] >= 0.95
    assert [row["clean_per_class"] for row in document["purified"]] == [1, 10, 50]
    assert all(row["accepted"] for row in document["purified"])
    assert all(row["asr"]["value"] < document["victim"]["asr"]["value"] for row in document["purified"])
    assert "50 a class" in (out / "report.html").read_text()
    assert checkpoint.describe(out / "purified.safetensors").num_classes == 10
    again = detrojan("demo", "--out", out)
    assert again.code == 2
    assert "--force" in again.err
    assert again.out == ""


@pytest.mark.parametrize(
    ("task", "data", "picture"),
    [
        ("multilabel", "scenes", "data:"),
        ("detection", "scenes", "what the victim finds"),
        ("video", "motions", "films"),
        ("pointcloud", "shapes", "data:"),
        ("translation", "numerals", "Sentences side by side"),
        ("dialogue", "smalltalk", "Sentences side by side"),
    ],
)
def test_the_other_tasks_tell_theirs_on_drawn_data(detrojan, tmp_path, monkeypatch, task, data, picture):
    """With a tenth of the training: what is shown is tried here, how well it works is measured elsewhere."""
    told = stories.STORIES[task]
    if told.module:
        pytest.importorskip(told.module)
    short = replace(
        told,
        sources=tuple(_few(data, source) for source in told.sources),
        load={},
        recipe={**told.recipe, "epochs": 1},
        settings={**told.settings, "steps": 2},
        drawn={},
        per_class=(1, 4),
    )
    monkeypatch.setitem(stories.STORIES, task, short)
    monkeypatch.setenv("DETROJAN_DATA", str(tmp_path / "nothing"))
    out = tmp_path / "demo"
    outcome = detrojan("demo", "--task", task, "--out", out)
    assert outcome.code == 0
    assert f"{data} test" in outcome.out
    page = (out / "report.html").read_text()
    assert told.portion(4) in page
    assert picture in page


@pytest.mark.parametrize("task", [task for task, told in stories.STORIES.items() if told.drawn])
def test_what_the_program_draws_is_told_by_its_own_settings(task, tmp_path):
    told = stories.STORIES[task]
    drawn = load(told.sources[-1], split="test", root=tmp_path)
    fitted = told.fitted(drawn)
    assert {name: getattr(fitted, name) for name in told.drawn} == told.drawn
    assert told.fitted(replace(drawn, name="modelnet10 test")) is told


def _few(data, source):
    boxes = "labels=boxes," if "labels=boxes" in source else ""
    return f"{data}:{boxes}{FEW[data]}" if source.startswith(data) else source


@pytest.mark.parametrize(("task", "extra"), [("detection", "detection"), ("translation", "text"), ("dialogue", "text")])
def test_a_demo_that_lacks_a_module_says_so_first(detrojan, tmp_path, monkeypatch, task, extra):
    told = stories.STORIES[task]
    assert told.module
    monkeypatch.setitem(stories.STORIES, task, replace(told, module="no_such_module"))
    outcome = detrojan("demo", "--task", task, "--out", tmp_path / "demo")
    assert outcome.code == 1
    assert f"pip install 'detrojan[{extra}]'" in outcome.err
    assert not (tmp_path / "demo").exists()


def test_a_task_without_a_story(detrojan):
    outcome = detrojan("demo", "--task", "videos")
    assert outcome.code == 2
    assert "did you mean 'video'" in outcome.err
