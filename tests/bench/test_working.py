"""What a worker does with one victim and one cell, on digits."""

from dataclasses import replace

import pytest
import torch

from benching import CELL, VICTIM
from detrojan import checkpoint
from detrojan.bench import working
from detrojan.bench.cells import Clean
from detrojan.bench.working import make_victim, run_cell, weights_of
from detrojan.errors import BadArgument, BadFile
from detrojan.models.small_cnn import small_cnn

SMALL = replace(
    VICTIM,
    architecture="detrojan:small_cnn",
    architecture_settings={"width": 4, "in_channels": 1},
    recipe={"epochs": 1, "small": 0.0, "flip": False, "learning_rate": 0.0},
    start="first.safetensors",
)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A network in the folder of the data, as `resnet50-0676ba61.pth` would be."""
    monkeypatch.setenv("DETROJAN_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights").mkdir(parents=True)
    torch.manual_seed(7)
    network = small_cnn(10, 1, 4)
    checkpoint.save(tmp_path / "data" / "weights" / "first.safetensors", network)
    return network


def test_a_victim_starts_from_the_weights_that_are_named(start, tmp_path):
    make_victim(SMALL, tmp_path / "v")
    found = checkpoint.load_into(small_cnn(10, 1, 4), checkpoint.read(weights_of(SMALL, tmp_path / "v")))
    assert torch.equal(found.head.weight, start.head.weight)
    with pytest.raises(BadFile, match=r"other\.safetensors"):
        make_victim(replace(SMALL, start="other.safetensors"), tmp_path / "v")


def test_a_row_holds_masks_and_maps_where_they_are_asked_for(start, tmp_path):
    make_victim(SMALL, tmp_path / "v")
    plain, charted = (run_cell(replace(CELL, victim=SMALL, charted=asked), tmp_path / "v") for asked in (False, True))
    assert sum(plain["masks"]) == sum(charted["masks"]) > 0
    assert "charts" not in plain
    charts = charted["charts"]
    assert len(charts["before"]) == len(charts["after"]) == len(charts["labels"])
    assert charts["triggered"] == 100


def test_an_oracle_is_asked_for_and_stays_out_of_the_defense(start, tmp_path):
    make_victim(SMALL, tmp_path / "v")
    cell = replace(CELL, victim=SMALL, defense="anp", settings={"steps": 2, "batch": 16})
    plain, told = (run_cell(replace(cell, oracle=asked), tmp_path / "v") for asked in (False, True))
    assert "oracle_asr" not in plain
    assert plain["acc"] == told["acc"]
    assert told["oracle_acc"]["count"] == plain["acc"]["count"]
    assert told["threshold"] <= 0.9
    assert replace(cell, oracle=False).key != replace(cell, oracle=True).key


def test_a_defense_that_learns_from_the_training_set_gets_the_poisoned_one(start, tmp_path):
    make_victim(SMALL, tmp_path / "v")
    cell = replace(CELL, victim=SMALL, defense="abl", settings={"isolating_epochs": 1, "training_epochs": 1})
    assert run_cell(cell, tmp_path / "v")["notes"]["isolated"] >= 1
    suspect = working._training(cell, tmp_path / "v")
    seen = working._parts(SMALL)[1]
    changed = (suspect.inputs != seen.inputs).flatten(1).any(1)
    relabelled = suspect.labels != seen.labels
    assert 0 < int(changed.sum()) < len(seen)
    assert torch.equal(changed & relabelled, relabelled)
    assert (suspect.labels[relabelled] == SMALL.target).all()
    assert working._training(replace(cell, defense="nft", settings={}), tmp_path / "v") is None


def test_what_this_machine_lacks_is_no_finding_about_a_defense(start, tmp_path):
    make_victim(SMALL, tmp_path / "v")
    cell = replace(CELL, victim=SMALL)
    with pytest.raises(BadArgument, match="'cuda:99' is not there"):
        run_cell(cell, tmp_path / "v", "cuda:99")
    refused = run_cell(replace(cell, defense="abl", settings={"isolated": 0.5}, clean=Clean(count=1)), tmp_path / "v")
    assert "single class" in refused["refused"] or "two classes" in refused["refused"]


def test_a_cell_knows_the_score_of_the_victim_that_it_purified(start, tmp_path):
    made = make_victim(SMALL, tmp_path / "v")
    assert run_cell(replace(CELL, victim=SMALL), tmp_path / "v")["before"]["acc"] == made["acc"]["value"]
