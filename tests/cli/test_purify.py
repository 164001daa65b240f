import errno
import hashlib
import json

import pytest
import torch

from detrojan import checkpoint

QUICK = ("--set", "steps=3", "batch=4")
HARMLESS = (*QUICK, "--tolerance", "1")
RUINOUS = ("--method", "nft", "--set", "steps=8", "batch=4", "tune=weights", "weight_learning_rate=1e30")


@pytest.fixture
def purify(detrojan, arch, suspect, pictures):
    def run(*arguments, model=suspect, clean=pictures):
        return detrojan("purify", model, *arch, "--clean", clean, *arguments)

    return run


def test_the_same_format_comes_out_and_the_report_beside_it(purify, suspect, tmp_path):
    out, page = tmp_path / "clean.pth", tmp_path / "page.html"
    outcome = purify(*HARMLESS, "-o", out, "--report", page)
    assert outcome.code == 0
    assert "Accepted." in outcome.out
    assert f"Wrote {out}" in outcome.out
    before, after = (torch.load(path, weights_only=True) for path in (suspect, out))
    assert after["epoch"] == 7
    assert list(after["net"]) == list(before["net"])
    assert any(not torch.equal(after["net"][key], before["net"][key]) for key in before["net"])
    text = page.read_text()
    for path in (suspect, out):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text


def test_what_could_be_the_suspect_again_is_named(purify, suspect, tmp_path):
    document = torch.load(suspect, weights_only=True)
    average = {"shadow_params": list(document["net"].values())}
    torch.save({**document, "average": average}, tmp_path / "two.pth")
    told = purify(*HARMLESS, "-o", tmp_path / "clean.pth", model=tmp_path / "two.pth").err
    assert "tensors of the network's shapes are under average" in told


def test_json_is_one_document_and_notes_go_to_stderr(purify, tmp_path):
    out = tmp_path / "clean.pth"
    outcome = purify(*HARMLESS, "-o", out, "--json")
    document = outcome.document
    assert document["verdict"]["accepted"] is True
    assert document["settings"]["steps"] == 3
    assert document["output"] == {"path": str(out), "sha256": checkpoint.read(out).sha256}
    assert document["exit_code"] == outcome.code == 0
    assert "consistency and distil: 3 of 3 steps" in outcome.err


def test_a_rejection_writes_the_report_and_no_model(purify, tmp_path):
    out, page = tmp_path / "clean.pth", tmp_path / "page.html"
    outcome = purify(*RUINOUS, "-o", out, "--report", page)
    assert outcome.code == 3
    assert "Rejected." in outcome.out
    assert f"{out} was not written." in outcome.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_a_rejection_in_json(purify):
    outcome = purify(*RUINOUS, "--json")
    assert outcome.code == 3
    assert outcome.document["verdict"]["accepted"] is False
    assert outcome.document["output"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--method", "nfr"), "no defense 'nfr', did you mean 'nft'?"),
        (("--task", "imgae"), "did you mean 'image'?"),
        (("--set", "step=3"), "there is no setting 'step', did you mean 'steps'?"),
        (("--preprocess", "cifar11"), "did you mean 'cifar10'?"),
        (("--clean-count", "4", "--per-class", "2"), "--clean-count and --per-class exclude each other"),
        (("--clean-count", "400"), "count must be between 1 and 24"),
        (("--first", "400"), "--first must lie between 1 and 24"),
        (("--tolerance", "2"), "tolerance"),
        (("--set", "learning_rate=-1"), "learning_rate must be at least 0, got -1.0"),
        (("--method", "nft", "--set", "learning_rate=-1"), "nft cannot work with one of its settings (Invalid"),
        (("--device", "abacus"), "device 'abacus' is not there"),
        (("--arch-arg", "widht=4"), "did you mean width?"),
        (("-o", "{tmp}/clean.safetensors"), "choose a name that ends in .pth"),
        (("-o", "{tmp}/absent/clean.pth"), "there is no folder"),
        (("-o", "{tmp}"), "is a folder"),
        (("-o", "{tmp}/a.pth", "--report", "{tmp}/a.pth"), "is named for two outputs"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(purify, tmp_path, arguments, sentence):
    outcome = purify(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "steps, loss" not in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "out"),
    [("model.safetensors.index.json", "x.pth"), ("a.pth", "x.pth"), ("odd.safetensors", "x.safetensors")],
)
def test_the_suffix_that_is_told_is_one_that_is_taken(purify, other, suspect, tmp_path, model, out):
    files = {"model.safetensors": other, "a.pth": other, "odd.safetensors": suspect}
    for name, source in files.items():
        (tmp_path / name).write_bytes(source.read_bytes())
    weight_map = dict.fromkeys(checkpoint.read(other).state, "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    told = purify("-o", tmp_path / out, model=tmp_path / model)
    assert told.code == 2
    suffix = told.err.strip().rpartition(" ends in ")[2]
    outcome = purify(*HARMLESS, "-o", tmp_path / f"clean{suffix}", model=tmp_path / model)
    assert outcome.code == 0
    assert " kB)" in " ".join(outcome.out.split())  # long paths are wrapped


def test_the_input_is_overwritten_only_by_force(purify, suspect, tmp_path):
    copy = tmp_path / "mine.pth"
    copy.write_bytes(suspect.read_bytes())
    outcome = purify(*HARMLESS, "-o", copy, model=copy)
    assert outcome.code == 2
    assert "is the input itself" in outcome.err
    assert copy.read_bytes() == suspect.read_bytes()
    assert purify(*HARMLESS, "-o", copy, "--force", model=copy).code == 0
    assert copy.read_bytes() != suspect.read_bytes()


def test_an_output_that_exists_is_kept(purify, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    outcome = purify("--report", page)
    assert outcome.code == 2
    assert "--force" in outcome.err
    assert page.read_text() == "mine"


@pytest.mark.parametrize(("model", "code"), [("absent.pth", 1), ("truncated.pth", 1)])
def test_a_file_that_cannot_be_read(purify, suspect, tmp_path, model, code):
    (tmp_path / "truncated.pth").write_bytes(suspect.read_bytes()[:500])
    outcome = purify(model=tmp_path / model)
    assert outcome.code == code
    assert model in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_weights_of_another_network(detrojan, suspect, pictures):
    outcome = detrojan("purify", suspect, "--arch", "detrojan:small_cnn", "--clean", pictures)
    assert outcome.code == 1
    assert "17 of another shape" in outcome.err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "Interrupted; nothing was written."),
        (MemoryError(), 1, "The memory is full"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            1,
            "memory is full",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "The disk is full"),
        (ZeroDivisionError("division by zero"), 1, "Unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_what_breaks_in_the_middle_leaves_nothing(purify, tmp_path, monkeypatch, error, code, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("detrojan.purification.purify", fail)
    outcome = purify("-o", tmp_path / "clean.pth", "--report", tmp_path / "page.html")
    assert outcome.code == code
    assert sentence in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_of_a_file(purify, tmp_path, monkeypatch):
    def fail(document, path, **_):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", fail)
    outcome = purify(*HARMLESS, "-o", tmp_path / "clean.pth")
    assert outcome.code == 1
    assert "The disk is full" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_clean_samples(purify):
    document = purify(*HARMLESS, "--per-class", "3", "--json").document
    assert document["clean"]["count"] == 6
    assert document["verdict"]["weak"] is True


def test_the_same_seed_gives_the_same_file(purify, tmp_path):
    for name in ("a", "b"):
        assert purify(*HARMLESS, "--seed", "5", "-o", tmp_path / f"{name}.pth").code == 0
    first, second = (checkpoint.read(tmp_path / f"{name}.pth").state for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_activation_checkpointing_is_told(purify):
    assert (
        purify(*HARMLESS, "--json", "--activation-checkpointing")
        .document["execution"]
        .endswith(", activation checkpointing")
    )


def test_a_method_whose_result_no_file_can_hold_is_refused_before_it_starts(purify, tmp_path):
    outcome = purify("--method", "unit", "-o", tmp_path / "clean.pth")
    assert outcome.code == 2
    assert "no file of weights can hold them" in outcome.err
    assert not list(tmp_path.iterdir())
    assert purify("--method", "unit", "--set", "steps=2", "batch=4", "--tolerance", "1").code == 0


def test_the_training_set_is_handed_to_the_method_that_learns_from_it(purify, pictures, tmp_path):
    few = ("--set", "isolating_epochs=1", "training_epochs=1", "unlearning_epochs=1", "batch=4", "--tolerance", "1")
    outcome = purify("--method", "abl", *few)
    assert outcome.code == 2
    assert "(--training)" in outcome.err
    out = tmp_path / "clean.pth"
    assert purify("--method", "abl", *few, "--training", pictures, "-o", out).code == 0
    assert out.is_file()


def test_auto_tells_what_it_tried(purify):
    outcome = purify("--method", "auto", "--set", "steps=2", "--json", "--tolerance", "1")
    assert outcome.code == 0
    assert "points lost on" in outcome.document["notes"]["tried"]
