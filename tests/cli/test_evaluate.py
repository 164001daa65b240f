import pytest

from detrojan import Preprocessing
from detrojan.evaluation import protocol

TRIGGER = ("--attack", "badnets", "--target", "1")


@pytest.fixture
def evaluate(detrojan, arch, suspect, pictures):
    def run(*arguments):
        return detrojan("evaluate", suspect, *arch, "--data", pictures, "--device", "cpu", *arguments)

    return run


def test_clean_accuracy_alone(evaluate):
    outcome = evaluate()
    assert outcome.code == 0
    assert "clean accuracy (ACC)" in outcome.out
    assert "ASR" not in outcome.out


def test_all_figures_with_a_trigger_and_a_network_to_compare_with(evaluate, other):
    outcome = evaluate(*TRIGGER, "--attack-arg", "pattern=white", "--before", other)
    assert outcome.code == 0
    for name in ("ACC", "ASR", "RA", "DER"):
        assert f"({name})" in outcome.out


def test_json(evaluate, other):
    document = evaluate(*TRIGGER, "--before", other, "--json").document
    assert document["acc"]["count"] == 24
    assert document["asr"]["count"] == 12
    assert document["asr"]["low"] <= document["asr"]["value"] <= document["asr"]["high"]
    assert 0 <= document["der"]["value"] <= 1
    assert set(document["per_class"]) == {"0", "1"}
    assert document["before"]["acc"]["count"] == 24


def test_a_part_of_the_data(evaluate):
    assert evaluate("--split", "train", "--json").document["data"] != evaluate("--json").document["data"]


def test_a_record_tells_the_preprocessing_too(detrojan, arch, pictures, evaluate, tmp_path, monkeypatch):
    dark, used = ("--preprocess", "mean=.9,.8,.7;std=.1"), []
    evaluated = protocol.evaluate
    made = ("--attack", "badnets", "--poison-rate", ".5", "--epochs", "1", "--batch", "4", "-o", tmp_path / "v.pt")
    assert detrojan("train", *arch, "--data", pictures, *dark, *made).code == 0

    def spy(*arguments, preprocessing, **options):
        used.append(preprocessing)
        return evaluated(*arguments, preprocessing=preprocessing, **options)

    monkeypatch.setattr(protocol, "evaluate", spy)
    for more, noted in (((), False), (dark, False), (("--preprocess", "none"), True)):
        outcome = evaluate("--victim", tmp_path / "v.json", *more)
        assert ("another preprocessing than --preprocess none" in outcome.err) == noted
    assert used == [Preprocessing(mean=(0.9, 0.8, 0.7), std=(0.1,))] * 2 + [Preprocessing()]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--attack", "badnet"), 2, "did you mean 'badnets'?"),
        ((*TRIGGER, "--attack-arg", "patern=white"), 2, "did you mean 'pattern'?"),
        (("--attack-arg", "pattern=white"), 2, "--attack-arg needs an attack"),
        (("--attack", "badnets", "--target", "7"), 2, "must be labels from 0 to 1, got 7"),
        (("--victim", "victim.json", "--attack", "badnets"), 2, "an attack and --victim exclude each other"),
        (("--victim", "absent.json"), 1, "is no record of a victim"),
        (("--before", "absent.pth"), 2, "--before compares attack success"),
        ((*TRIGGER, "--before", "absent.pth"), 1, "absent.pth"),
    ],
)
def test_what_is_refused(evaluate, arguments, code, sentence):
    outcome = evaluate(*arguments)
    assert outcome.code == code
    assert sentence in outcome.err
    assert outcome.out == ""
