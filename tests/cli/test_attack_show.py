import json
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import nn

from detrojan.errors import BadFile
from detrojan.registry import Registry
from detrojan.triggers import LearnedTrigger, Trigger
from detrojan.victim import backdoor_of


class _Brighter(LearnedTrigger):
    def __init__(self, channels):
        super().__init__()
        self.light = nn.Parameter(torch.zeros(channels, 1, 1))

    def stamp(self, pixels):
        return (pixels + self.light).clamp(0, 1)

    def adapt(self, classify, pixels, labels, wanted, generator):
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Brighter(Trigger):
    """Learns how much light a surrogate's clean images can take."""

    def blank(self, shape):
        return _Brighter(shape[0])

    def forge(self, workshop):
        classify = workshop.surrogate(workshop.samples)
        assert classify(workshop.samples.inputs[:2].float() / 255).shape == (2, 2)
        trigger = self.blank(tuple(workshop.samples.inputs.shape[1:]))
        nn.init.constant_(trigger.light, 20 / 255)
        return trigger


@pytest.fixture
def brighter(monkeypatch):
    """An attack that learns, by name."""
    module = ModuleType("brighter_of_the_tests")
    module.METHOD = Brighter
    monkeypatch.setitem(sys.modules, module.__name__, module)
    known = Registry._modules
    monkeypatch.setattr(Registry, "_modules", lambda self: known(self) | {"brighter": module.__name__})
    monkeypatch.setattr(Brighter, "__module__", "attacks.brighter")


@pytest.fixture
def show(detrojan, pictures, tmp_path):
    def run(*arguments, size=16):
        return detrojan("attack", "show", *arguments, "--data", pictures, "--size", size, "-o", tmp_path / "sheet.png")

    return run


def test_a_sheet_is_written_and_the_norms_are_told(show, tmp_path):
    outcome = show("badnets", "--attack-arg", "pattern=checker", "--target", "1", "--count", "3")
    assert outcome.code == 0
    assert "largest change (l_inf)" in outcome.out
    assert f"Wrote {tmp_path / 'sheet.png'}" in outcome.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 3 * 100


def test_json(show, tmp_path):
    document = show("blend", "--attack-arg", "alpha=0.1", "--count", "4", "--json").document
    assert document["verb"] == "attack show"
    assert document["images"] == 4
    assert 0 < document["l_inf"] <= 26
    assert document["changed"] > 0.9
    assert document["amplification"] >= 2
    assert document["sheet"] == str(tmp_path / "sheet.png")


def test_the_same_seed_draws_the_same_sheet(show, tmp_path):
    sheets = []
    for seed in (0, 0, 1):
        assert show("badnets", "--seed", seed, "--count", "2", "--force").code == 0
        sheets.append((tmp_path / "sheet.png").read_bytes())
    assert sheets[0] == sheets[1]
    assert sheets[0] != sheets[2]


def test_without_out_the_sheet_is_called_like_the_attack(detrojan, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert detrojan("attack", "show", "badnets", "--data", pictures).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["badnets.png"]


def test_a_learned_trigger_is_learned_first(brighter, show):
    outcome = show("brighter", "--json", size=8)
    assert outcome.code == 0
    assert outcome.document["l_inf"] == 20
    assert "training the attacker's surrogate" in outcome.err
    assert "--victim shows what it has become" in outcome.err


def test_a_trigger_that_is_made_from_its_victim_is_said_to_be_unfinished(show):
    outcome = show("dfba", "--json")
    assert outcome.code == 0
    assert "is finished only with its victim" in outcome.err


def test_a_victims_trigger_is_read_from_its_record(brighter, detrojan, arch, pictures, tmp_path):
    record = tmp_path / "victim.json"
    schedule = ("--epochs", "1", "--batch", "8", "--device", "cpu", "--target", "1")
    victim = record.with_suffix(".safetensors")
    detrojan("train", *arch, "--data", pictures, *schedule, "--attack", "brighter", "-o", victim)
    with torch.no_grad():
        assert float(backdoor_of(record).attack.light.mean()) == pytest.approx(20 / 255)
    command = ("attack", "show", "--data", pictures, "--victim", record, "-o", tmp_path / "sheet.png", "--json")
    outcome = detrojan(*command)
    assert outcome.code == 0
    assert outcome.document["l_inf"] == 20
    assert "surrogate" not in outcome.err
    (tmp_path / "victim.trigger.safetensors").unlink()
    outcome = detrojan(*command, "--force")
    assert outcome.code == 1
    assert outcome.document["kind"] == BadFile.__name__


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "which attack? Name one of"),
        (("badnet",), 2, "did you mean 'badnets'?"),
        (("badnets", "--count", "13"), 2, "count must be between 1 and 12"),
        (("badnets", "--target", "2"), 2, "must be labels from 0 to 1"),
        (("badnets", "--sources", "0", "--target", "0"), 1, "the attack changes the label of none"),
        (("badnets", "--attack-arg", "siz=2"), 2, "did you mean 'size'?"),
        (("badnets", "--victim", "v.json"), 2, "an attack and --victim exclude each other"),
    ],
)
def test_what_is_refused(show, tmp_path, arguments, code, sentence):
    outcome = show(*arguments)
    assert outcome.code == code
    assert sentence in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_clean_networks_record_has_no_trigger(show, tmp_path):
    (tmp_path / "victim.json").write_text(json.dumps({"attack": None}))
    outcome = show("--victim", tmp_path / "victim.json")
    assert outcome.code == 2
    assert "trained on clean data" in outcome.err


@pytest.mark.parametrize(("name", "sentence"), [("sheet.jpg", "end its name in .png"), ("old.png", "--force")])
def test_outputs_are_looked_at_first(detrojan, pictures, tmp_path, name, sentence):
    (tmp_path / "old.png").write_text("")
    outcome = detrojan("attack", "show", "badnets", "--data", pictures, "-o", tmp_path / name)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert (tmp_path / "old.png").read_text() == ""


def test_of_clips_the_middle_frame_is_shown(detrojan, tmp_path):
    data = "motions:per_class=2,frames=4,size=24"
    outcome = detrojan("attack", "show", "badnets", "--data", data, "--count", 2, "--out", tmp_path / "clips.png")
    assert outcome.code == 0
    assert (tmp_path / "clips.png").is_file()


@pytest.mark.parametrize(
    ("attack", "data", "sentence"),
    [
        ("pointba_o", "shapes:per_class=2,points=16", "has points"),
        ("clean_image", "scenes:count=20,size=32", "no pixel"),
    ],
)
def test_what_cannot_be_drawn_is_said(detrojan, tmp_path, attack, data, sentence):
    outcome = detrojan("attack", "show", attack, "--data", data, "--out", tmp_path / "none.png")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "none.png").exists()
