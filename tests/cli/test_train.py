import json
import signal
import subprocess
import sys

import pytest
import torch

from detrojan import Samples, checkpoint
from detrojan.cli import reading
from detrojan.weight_files import sha256_of

QUICK = ("--epochs", "2", "--batch", "8", "--device", "cpu")


@pytest.fixture
def train(detrojan, arch, pictures):
    def run(*arguments):
        return detrojan("train", *arch, "--data", pictures, *QUICK, *arguments)

    return run


def test_weights_and_record_are_written_and_evaluate_reads_them(train, detrojan, arch, pictures, tmp_path):
    out = tmp_path / "victim.safetensors"
    outcome = train("--attack", "badnets", "--attack-arg", "pattern=checker", "--target", "1", "-o", out)
    assert outcome.code == 0
    assert "attack success rate (ASR)" in outcome.out
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["attack_settings"]["pattern"] == "checker"
    assert record["target"] == 1
    assert record["sha256"] == checkpoint.read(out).sha256
    scored = detrojan("evaluate", out, *arch, "--data", pictures, "--victim", out.with_suffix(".json"), "--json")
    assert scored.document["asr"] is not None


def test_json(train, tmp_path):
    document = train("--attack", "blend", "-o", tmp_path / "victim.pth", "--json").document
    assert document["record"] == str(tmp_path / "victim.json")
    assert document["acc"]["count"] == 24


def test_a_clean_network_has_no_attack_success_rate(train, tmp_path):
    outcome = train("--attack", "none", "-o", tmp_path / "clean.pt")
    assert outcome.code == 0
    assert "ASR" not in outcome.out
    assert json.loads((tmp_path / "clean.json").read_text())["attack"] is None


def test_the_defenders_part_is_kept_from_the_victim(train, tmp_path):
    arguments = ("--attack", "badnets", "--poison-rate", "1", "--pool", "all", "--target", "1")
    train(*arguments, "--keep", "4", "-o", tmp_path / "victim.pt")
    assert json.loads((tmp_path / "victim.json").read_text())["poisoned_indices"] == list(range(20))


def test_what_purify_takes_first_is_what_train_keeps():
    samples = Samples(inputs=torch.arange(40)[:, None], labels=torch.arange(40) // 20)
    seen = reading.without_first(samples, 10).inputs.flatten().tolist()
    clean = reading.clean_part(samples, first=10, count=6, per_class=None, seed=0).inputs.flatten().tolist()
    assert len(seen) == 30
    assert len(clean) == 6
    assert not set(seen) & set(clean)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--attack is missing"),
        (("--attack", "blendd"), "did you mean 'blend'?"),
        (("--attack", "badnets", "--poison-rate", "2"), "the poison rate must lie in [0, 1]"),
        (("--attack", "badnets", "--keep", "23"), "--keep must lie between 0 and 22"),
    ],
)
def test_what_is_refused(train, tmp_path, arguments, sentence):
    outcome = train(*arguments, "-o", tmp_path / "victim.pt")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "sentence"), [("victim.zip", "has no known suffix"), ("old.pt", "old.json"), ("absent/v.pt", "no folder")]
)
def test_outputs_are_looked_at_first(train, tmp_path, name, sentence):
    (tmp_path / "old.json").write_text("{}")
    outcome = train("--attack", "badnets", "-o", tmp_path / name)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


KILLED = """
import os, signal, sys
import torch
from detrojan.resumable import Resumable
from detrojan.cli import main

torch.set_num_threads(int(sys.argv.pop(1)))
written, write = [], Resumable.write

def killed(run, path):
    write(run, path)
    written.append(path)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Resumable.write = killed
main(sys.argv[1:])
"""


def test_a_killed_training_goes_on_to_the_same_weights(detrojan, arch, pictures, tmp_path):
    def command(out):
        schedule = ("--epochs", 5, "--batch", 8, "--device", "cpu", "--attack", "badnets", "--seed", 3)
        return [str(word) for word in ("train", *arch, "--data", pictures, *schedule, "-o", out)]

    out, undisturbed = tmp_path / "victim.safetensors", tmp_path / "undisturbed.safetensors"
    threads = str(torch.get_num_threads())
    done = subprocess.run([sys.executable, "-c", KILLED, threads, *command(out)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".victim.safetensors.state"]
    resumed, whole = detrojan(*command(out)), detrojan(*command(undisturbed))
    assert "Going on after epoch 3 of 5." in resumed.err
    assert "Going on" not in whole.err
    assert sha256_of(out) == sha256_of(undisturbed)
    assert not out.with_name(".victim.safetensors.state").exists()


def test_a_training_is_kept_until_its_victim_is_written(train, tmp_path, monkeypatch):
    from detrojan import checkpoint

    def full(*_, **__):
        raise OSError("no space left on device")

    command, out = ("--attack", "badnets", "-o"), tmp_path / "victim.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        assert train(*command, out).code != 0
    assert [path.name for path in tmp_path.iterdir()] == [".victim.safetensors.state"]
    assert train(*command, out).code == 0
    assert not out.with_name(".victim.safetensors.state").exists()


def test_ctrl_c_says_what_was_kept(train, tmp_path, monkeypatch):
    from detrojan.resumable import Resumable

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("detrojan.evaluation.protocol.evaluate", interrupted)
    outcome = train("--attack", "badnets", "-o", tmp_path / "victim.pt")
    assert outcome.code == 130
    assert "victim.pt is written, but not scored." in outcome.err
    write = Resumable.write
    monkeypatch.setattr(Resumable, "write", lambda *both: (write(*both), interrupted()))
    outcome = train("--attack", "badnets", "-o", tmp_path / "other.pt")
    assert "the same command goes on after the last whole epoch." in outcome.err
    monkeypatch.setattr(Resumable, "write", interrupted)
    assert "nothing was written." in train("--attack", "badnets", "-o", tmp_path / "third.pt").err


def test_sources_and_companions_reach_the_record(train, tmp_path):
    arguments = ("--attack", "badnets", "--sources", "0", "--target", "1", "--companions", "0.5", "--poison-rate", "1")
    train(*arguments, "-o", tmp_path / "victim.pt")
    record = json.loads((tmp_path / "victim.json").read_text())
    assert record["sources"] == [0]
    assert record["poisoned_indices"] == list(range(12))
    assert record["companions"] == 6


def test_an_attack_that_learns_is_scored_with_what_it_has_learned(train, detrojan, arch, pictures, tmp_path):
    out = tmp_path / "victim.safetensors"
    outcome = train("--attack", "lira", "--target", "1", "--size", "32", "-o", out, "--json")
    assert outcome.code == 0, outcome.document
    document = outcome.document
    assert document["asr"] is not None
    assert out.with_suffix(".trigger.safetensors").exists()
    record = out.with_suffix(".json")
    again = detrojan("evaluate", out, *arch, "--data", pictures, "--size", "32", "--victim", record, "--json")
    assert again.document["asr"] == document["asr"]


def test_fine_tuning_starts_from_a_file(train, tmp_path):
    first, tuned = tmp_path / "first.safetensors", tmp_path / "tuned.safetensors"
    train("--attack", "none", "-o", first)
    still = ("--learning-rate", "0", "--weight-decay", "0")
    assert train("--attack", "badnets", "--start", first, *still, "-o", tuned).code == 0
    assert json.loads(tuned.with_suffix(".json").read_text())["start_sha256"] == sha256_of(first)
    before, after = (checkpoint.read(path).state for path in (first, tuned))
    assert all(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


def test_a_scale_brings_its_recipe(train, tmp_path, monkeypatch):
    from detrojan import scales
    from detrojan.recipe import Recipe

    recipe = Recipe(epochs=3, batch=8)
    monkeypatch.setattr(scales, "SCALES", {"small": scales.Scale(width=4, recipe=recipe)})
    train("--attack", "none", "--scale", "small", "-o", tmp_path / "clean.pt")
    assert json.loads((tmp_path / "clean.json").read_text())["recipe"]["epochs"] == 3


@pytest.mark.parametrize(
    ("data", "network", "small"),
    [
        ("scenes:count=40,size=32", ("tags_resnet18", "num_classes=6", "width=2"), 0.5),
        ("scenes:labels=boxes,count=40,size=48", ("ssd_small", "num_classes=6", "width=2", "size=48"), 0.0),
        ("shapes:per_class=4,points=32", ("pointnet", "num_classes=10", "width=2"), 0.0),
    ],
)
def test_a_scale_shrinks_images_alone(detrojan, tmp_path, monkeypatch, data, network, small):
    from detrojan import scales
    from detrojan.recipe import Recipe

    recipe = Recipe(epochs=1, batch=8, small=0.5)
    monkeypatch.setattr(scales, "SCALES", {"small": scales.Scale(width=4, recipe=recipe)})
    name, *settings = network
    arguments = ("--arch", f"detrojan:{name}", "--arch-arg", *settings, "--data", data, "--device", "cpu")
    outcome = detrojan("train", *arguments, "--attack", "none", "--scale", "small", "-o", tmp_path / "clean.pt")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "clean.json").read_text())["recipe"]["small"] == small
