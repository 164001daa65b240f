import json

import pytest

from detrojan import checkpoint

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
