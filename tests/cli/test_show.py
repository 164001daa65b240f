import torch


def test_what_a_file_holds(detrojan, suspect):
    outcome = detrojan("show", suspect)
    assert outcome.code == 0
    assert "under 'net'" in outcome.out
    assert "epoch (7)" in outcome.out
    assert "features.0.weight" in outcome.out
    assert "4 x 3 x 3 x 3" in outcome.out


def test_long_lists_are_cut_unless_all_is_asked_for(detrojan, suspect):
    short, long = detrojan("show", suspect).out, detrojan("show", suspect, "--all").out
    assert "more (--all shows them)" in short
    assert "features.5.running_var" not in short
    assert "features.5.running_var" in long


def test_json(detrojan, suspect):
    description = detrojan("show", suspect, "--json").document["description"]
    assert description["format"] == "torch"
    assert description["shapes"]["head.weight"] == [2, 16]
    assert description["num_classes"] == 2


def test_values_that_are_not_finite_are_named(detrojan, tmp_path):
    path = tmp_path / "bad.pt"
    torch.save({"weight": torch.tensor([[1.0, float("nan")]])}, path)
    assert "NaN or infinite values in weight" in detrojan("show", path).out


def test_a_file_that_is_none(detrojan, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not weights at all")
    outcome = detrojan("show", path)
    assert outcome.code == 1
    assert str(path) in outcome.err
