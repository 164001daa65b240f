"""The scripts of `benchmarks/` keep step with the package where that can be seen without a training."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from detrojan.backdoor import Backdoor, trigger
from detrojan.bench import grid as grids
from detrojan.data.samples import Samples
from detrojan.evaluation.protocol import Scores
from detrojan.intervals import proportion
from detrojan.registry import from_file

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: from_file(FOLDER / f"{name}.py", package="benchmarks")


def test_the_published_victims_are_those_that_the_grid_asks_for(script):
    adopt = script("adopt")
    found = json.loads((FOLDER / "attacks-cifar10.json").read_text())["rows"]
    records = {(row["name"], row["seed"]): row["record"] for row in found}
    specs = {cell.victim.key: cell.victim for cell in grids.read(grids.named("table1-cifar10")).cells}.values()
    assert len(specs) == 45
    assert all(adopt.same(s, records[adopt.SHOWN.get(s.shown, s.shown.lower()), s.seed]) for s in specs)


def test_a_strangers_picture_is_a_trigger(script, tmp_path):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
    attack = script("strangers").Additive(tmp_path / "white.png")
    samples = Samples(inputs=torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels=torch.arange(4))
    made = trigger(samples, Backdoor(attack=attack, target=2))
    assert made.samples.inputs.eq(255).all()
    assert made.wanted.tolist() == [2, 2, 2]


def test_a_second_look_at_all_to_all_counts_what_is_known(script, tmp_path, monkeypatch):
    attacks = script("attacks")
    row = {"name": "troj-all", "seed": 0, "record": {"mapping": "all-to-all"}}
    (tmp_path / "troj-all-s0.row.json").write_text(json.dumps(row))
    (tmp_path / "troj-all-s0.safetensors").touch()
    share = proportion(1, 2)
    right, fooled = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    scores = Scores(acc=share, asr=share, ra=share, per_class={}, right=right, fooled=fooled)
    samples = Samples(inputs=torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels=torch.arange(4))
    monkeypatch.setattr(attacks, "load_data", lambda *_, **__: samples)
    monkeypatch.setattr(attacks, "checkpoint", type("Nothing", (), {"read": str, "load_into": lambda *_: None}))
    monkeypatch.setattr(attacks, "backdoor_of", str)
    monkeypatch.setattr(attacks, "trigger", lambda *_: None)
    monkeypatch.setattr(attacks, "evaluate", lambda *_, **__: scores)
    attacks.explain("cifar10", attacks.SCALES["small"], tmp_path)
    told = json.loads((tmp_path / "troj-all-s0.row.json").read_text())["asr_of_known"]
    assert told["value"] == pytest.approx(2 / 3)
    assert told["count"] == 3
