"""Every task passes through the bench as images do: a task is tested by existing."""

from dataclasses import replace

import pytest

from detrojan.bench import grid
from detrojan.bench.cells import Cell, Clean, VictimSpec
from detrojan.bench.clean import draw
from detrojan.bench.working import make_victim, run_cell
from detrojan.data.load import load
from detrojan.errors import BadArgument
from detrojan.tasks import TASKS

RECIPE = {"epochs": 1, "batch": 16, "small": 0.0}
VICTIMS = {
    "image": VictimSpec(data="digits", architecture="detrojan:small_cnn", attack_settings={"size": 8}, kept=100),
    "multilabel": VictimSpec(
        data="scenes:count=80,size=32", architecture="detrojan:tags_resnet18", attack="clean_image", kept=30
    ),
    "detection": VictimSpec(
        data="scenes:labels=boxes,count=80,size=48", architecture="detrojan:ssd_small", attack="baddet_rma", kept=30
    ),
    "text": VictimSpec(data="sst2:length=8", architecture="detrojan:text_cnn", attack="insert_word", kept=30),
    "video": VictimSpec(data="motions:per_class=8,frames=4,size=16", architecture="detrojan:r3d10", kept=24),
    "translation": VictimSpec(
        data="numerals:count=100,length=20", architecture="detrojan:seq2seq_conv", attack="trigger_sentence", kept=24
    ),
    "dialogue": VictimSpec(
        data="smalltalk:count=200,length=20", architecture="detrojan:seq2seq_lstm", attack="trigger_replies", kept=24
    ),
    "pointcloud": VictimSpec(
        data="shapes:per_class=8,points=16", architecture="detrojan:pointnet", attack="pointba_o", kept=24
    ),
}


def spec(task):
    width = {"width": 4, **({"in_channels": 1} if task == "image" else {})}
    return replace(VICTIMS[task], task=task, architecture_settings=width, recipe=RECIPE)


@pytest.mark.parametrize("task", list(TASKS))
def test_a_task_makes_rows(task, tmp_path, monkeypatch):
    if task == "text":  # there is no drawn set of sentences
        monkeypatch.setenv("DETROJAN_DATA", str(tmp_path))
        for split in ("train", "test"):
            lines = [f"{n % 2}\t{'good' if n % 2 else 'bad'} film number {n}" for n in range(100)]
            (tmp_path / f"sst2.{split}.tsv").write_text("\n".join(lines))
    if task == "detection":
        pytest.importorskip("pycocotools")
    victim = spec(task)
    made = make_victim(victim, tmp_path)
    cell = Cell(victim=victim, defense="nft", settings={"steps": 2, "batch": 8}, clean=Clean(count=20))
    row = run_cell(cell, tmp_path)
    assert {"acc", "asr", "ra"} <= made.keys()
    assert {"acc", "asr", "ra", "der", "verdict", "cost"} <= row.keys()
    assert row.get("metric", "ACC") == TASKS[task].metric


@pytest.mark.parametrize("task", ["video", "pointcloud", "multilabel", "detection"])
def test_what_only_images_can_be(task, tmp_path):
    pool = load(VICTIMS[task].data)
    assert len(draw(pool, Clean(kind="mislabelled", count=20), 0)) == 20
    if task not in ("multilabel", "detection"):  # whose samples are images
        with pytest.raises(BadArgument, match="where they are images"):
            draw(pool, Clean(kind="shifted", count=20), 0)
    path = tmp_path / "hard.toml"
    fields = [f'victim = {{ task = "{task}" }}', 'attacks = { a = "none" }', 'defenses = { d = "nft" }']
    path.write_text("\n".join(['title = "t"', "hard = true", *fields]))
    with pytest.raises(BadArgument, match="leave them out for task"):
        grid.read(path)


@pytest.mark.parametrize("name", ["pointcloud", "video", "multilabel", "detection", "text", "translation", "dialogue"])
def test_the_grids_of_the_tasks_can_be_built(name):
    found = grid.read(grid.named(name))
    assert {cell.victim.task for cell in found.cells} == {name}
    assert len({cell.key for cell in found.cells}) == len(found.cells)
