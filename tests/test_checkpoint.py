"""Checkpoints: the state dict is found in any container, and goes back as it came."""

import hashlib
import os
import stat
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from detrojan import checkpoint
from detrojan.errors import BadArgument, BadFile, BadWeights


class Net(nn.Module):
    """A convolution, a norm and a head."""

    def __init__(self, num_classes=3, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)


class Tied(nn.Module):
    """A language model's embedding, tied to its output."""

    def __init__(self, *, tied=True):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        if tied:
            self.out.weight = self.embed.weight


def _saved(path, document, **options):
    torch.save(document, path, **options)
    return path


def _same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize(
    ("document", "location"),
    [
        (lambda s: s, ()),
        (lambda s: {"net": s, "acc": 0.9, "epoch": 3}, ("net",)),
        (lambda s: {"acc": torch.tensor(0.9), "net": s}, ("net",)),
        (lambda s: {"whatever": s}, ("whatever",)),
        (lambda s: {"checkpoint": {"model": s}}, ("checkpoint", "model")),
        (lambda s: {"ema": s, "model": s, "state_dict": s}, ("state_dict",)),
        (lambda s: {"stats": {"mean": torch.zeros(3)}, "model": s}, ("model",)),
        (lambda s: {"stats": {"mean": torch.zeros(3)}, "result": {"state_dict": s}}, ("result", "state_dict")),
        (lambda s: {"optimizer": {"state": {"momentum": torch.zeros(3)}}, "mine": s}, ("mine",)),
        (lambda s: {"model": s | {"epoch": 3}}, ("model",)),
    ],
)
def test_the_state_dict_is_found(document, location, tmp_path):
    state = Net().state_dict()
    read = checkpoint.read(_saved(tmp_path / "a.pth", document(dict(state))))
    assert read.location == location
    _same(read.state, state)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([1, 2], r"holds no state dict.*found a list: no dict"),
        ({"epoch": 3}, r"holds no state dict.*found a dict: epoch"),
        ({"counts": torch.ones(3, dtype=torch.long)}, r"holds no state dict"),
        ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, r"several state dicts \(a, b\).*re-save"),
    ],
)
def test_a_container_without_one_state_dict_is_refused(document, sentence, tmp_path):
    with pytest.raises(BadFile, match=sentence):
        checkpoint.read(_saved(tmp_path / "a.pth", document))


def _round_trip(folder, document, model, name="in.pth", **options):
    read = checkpoint.read(_saved(folder / name, document, **options))
    checkpoint.load_into(model, read)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    digest = checkpoint.write(folder / f"out-{name}", read, model)
    again = checkpoint.read(folder / f"out-{name}")
    assert again.sha256 == digest
    return read, again


def _half(state, dtype=torch.float16):
    return OrderedDict((k, v.to(dtype) if v.is_floating_point() else v) for k, v in state.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
def test_dtypes_are_the_networks_inside_and_the_files_outside(dtype, tmp_path):
    model = Net()
    read, again = _round_trip(tmp_path, _half(Net().state_dict(), dtype), model)
    assert model.fc.weight.dtype == torch.float32
    assert again.state["fc.weight"].dtype == dtype
    assert torch.equal(again.state["fc.weight"].float(), 2 * read.state["fc.weight"].float())


def test_a_written_file_keeps_everything_but_the_values(tmp_path):
    wrapped = nn.DataParallel(Net())
    optimizer = {"state": {0: {"step": 7}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    document = {
        "epoch": 3,
        "state_dict": wrapped.state_dict(),
        "optimizer": optimizer,
        "note": ["a", None],
    }
    read, again = _round_trip(tmp_path, document, Net())
    assert list(again.document) == list(document)
    assert {k: again.document[k] for k in ("epoch", "optimizer", "note")} == {
        k: document[k] for k in ("epoch", "optimizer", "note")
    }
    assert list(again.state) == list(document["state_dict"])
    assert again.document["state_dict"]._metadata == document["state_dict"]._metadata
    assert torch.equal(again.state["module.fc.weight"], 2 * read.state["module.fc.weight"])
    assert torch.equal(read.state["module.fc.weight"], document["state_dict"]["module.fc.weight"])


def test_every_copy_of_the_network_is_replaced(tmp_path):
    state, average = Net().state_dict(), Net().state_dict()
    document = {
        "model": {f"module.{k}": v for k, v in state.items()},
        "ema": _half(average),
        "mean": {"m": torch.ones(3)},
    }
    _, again = _round_trip(tmp_path, document, Net())
    assert checkpoint.describe(tmp_path / "in.pth").copies == (("ema",),)
    assert again.document["ema"]["fc.weight"].dtype == torch.float16
    assert torch.equal(again.document["ema"]["fc.weight"], (2 * state["fc.weight"]).half())
    assert torch.equal(again.document["mean"]["m"], torch.ones(3))


def _averaged(average):
    return {"n_averaged": torch.tensor(9), **{f"module.{name}": value for name, value in average.items()}}


@pytest.mark.parametrize(
    ("beside", "place", "key"),
    [
        (lambda s: {"ema": s}, ("ema",), "fc.weight"),
        (lambda s: {"ema": {k: v for k, v in s.items() if "running" not in k}}, ("ema",), "fc.weight"),
        (lambda s: {"swa": _averaged(s)}, ("swa",), "module.fc.weight"),
        (lambda s: {"a": {"b": {"c": {"d": s}}}}, ("a", "b", "c", "d"), "fc.weight"),
        (lambda s: {"best": [3, (0.9, s)]}, ("best", "1", "1"), "fc.weight"),
        (lambda s: {"both": {"x": 1, **{f"{p}.{k}": v for p in "ab" for k, v in s.items()}}}, ("both",), "b.fc.weight"),
    ],
)
def test_a_copy_is_found_wherever_it_lies(beside, place, key, tmp_path):
    suspect = Net().state_dict()
    read, again = _round_trip(tmp_path, {"state_dict": suspect, **beside(dict(suspect))}, Net())
    shown = checkpoint.describe(tmp_path / "in.pth")
    assert shown.copies == (place,)
    assert shown.lookalikes == ()
    before, after = read.document, again.document
    for step in place:
        before, after = ((each[step] if isinstance(each, dict) else each[int(step)]) for each in (before, after))
    assert list(after) == list(before)
    assert torch.equal(after[key], 2 * suspect["fc.weight"])
    assert not any(torch.equal(after[name], old) for name, old in before.items() if name.endswith("weight"))


@pytest.mark.parametrize(
    "beside",
    [
        lambda s: {"ema": {"decay": 0.9, "shadow_params": list(s.values())}},
        lambda s: {"optimizer": {"state": {i: {"exp_avg": v} for i, v in enumerate(s.values())}}},
        lambda s: {"optimizer": {"state": {"momentum": s}}},
        lambda s: {"other": {f"weight{i}": v for i, v in enumerate(s.values())}},
    ],
)
def test_what_could_be_a_copy_is_kept_and_named(beside, tmp_path):
    suspect = Net().state_dict()
    (name,) = beside(suspect)
    read, again = _round_trip(tmp_path, {"state_dict": suspect, **beside(dict(suspect))}, Net())
    shown = checkpoint.describe(tmp_path / "in.pth")
    assert (shown.copies, shown.lookalikes) == ((), ((name,),))
    assert str(again.document[name]) == str(read.document[name])


def test_a_part_of_the_network_is_no_copy_and_a_circle_has_an_end(tmp_path):
    suspect = Net().state_dict()
    circle = {
        "same": suspect,
        "head": {k: v for k, v in suspect.items() if k.startswith("fc")},
        "list": [dict(suspect)],
    }
    circle["list"].append(circle)
    _, again = _round_trip(tmp_path, {"state_dict": suspect, "all": circle}, Net())
    shown = checkpoint.describe(tmp_path / "in.pth")
    assert (shown.location, shown.copies, shown.lookalikes) == (("state_dict",), (("all", "list", "0"),), ())
    assert torch.equal(again.document["all"]["head"]["fc.weight"], suspect["fc.weight"])
    assert again.document["all"]["list"][1] is again.document["all"]
    for copy in (again.document["all"]["list"][0], again.document["all"]["same"]):
        assert torch.equal(copy["fc.weight"], 2 * suspect["fc.weight"])


def test_ties_and_parameters_of_a_file_are_kept(tmp_path):
    tied = Tied()
    _, again = _round_trip(tmp_path, {"model": dict(tied.named_parameters(remove_duplicate=False))}, Tied())
    assert isinstance(again.state["out.weight"], nn.Parameter)
    assert again.state["out.weight"].data_ptr() == again.state["embed.weight"].data_ptr()


def test_a_file_holds_no_more_memory_than_its_tensors(tmp_path):
    big = torch.zeros(100_000)
    model = nn.Linear(2, 2)
    model.bias = nn.Parameter(big[:2])
    model.weight = nn.Parameter(big[10:14].view(2, 2).t())
    for name in ("a.pt", "a.safetensors"):
        checkpoint.save(tmp_path / name, model)
        assert (tmp_path / name).stat().st_size < 5_000


def test_safetensors_keep_their_metadata(tmp_path):
    save_file(_half(Net().state_dict()), tmp_path / "a.safetensors", metadata={"format": "pt", "author": "someone"})
    read = checkpoint.read(tmp_path / "a.safetensors")
    model = checkpoint.load_into(Net(), read).to(memory_format=torch.channels_last)
    checkpoint.write(tmp_path / "b.safetensors", read, model)
    again = checkpoint.read(tmp_path / "b.safetensors")
    assert again.metadata == {"format": "pt", "author": "someone"}
    _same(again.state, read.state)


def test_half_precision_that_overflows_is_refused(tmp_path):
    read = checkpoint.read(_saved(tmp_path / "a.pth", _half(Net().state_dict())))
    model = checkpoint.load_into(Net(), read)
    nn.init.constant_(model.fc.bias, 1e6)
    with pytest.raises(BadWeights, match=r"fc.bias would not be finite in the input's torch.float16"):
        checkpoint.write(tmp_path / "b.pth", read, model)
    assert not (tmp_path / "b.pth").exists()


_names = st.text("abcdefgh_0123456789", min_size=1, max_size=6)
_others = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=20, deadline=None)
@given(
    others=st.dictionaries(_names, _others, max_size=4),
    location=st.lists(st.sampled_from(checkpoint.NESTINGS), max_size=2),
    dtypes=st.lists(
        st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]), min_size=9, max_size=9
    ),
    prefix=st.sampled_from(["", "module.", "model.net."]),
    legacy=st.booleans(),
    order=st.permutations(range(9)),
)
def test_any_container_comes_back_as_it_was(tmp_path_factory, others, location, dtypes, prefix, legacy, order):
    folder = tmp_path_factory.mktemp("trip")
    values = [
        (k, v.to(d) if v.is_floating_point() else v)
        for (k, v), d in zip(Net().state_dict().items(), dtypes, strict=True)
    ]
    state = {prefix + values[index][0]: values[index][1] for index in order}
    document = state
    for name in reversed(location):
        document = {**others, name: document}
    read = checkpoint.read(_saved(folder / "a.pth", document, _use_new_zipfile_serialization=not legacy))
    checkpoint.write(folder / "b.pth", read, checkpoint.load_into(Net(), read))
    again = checkpoint.read(folder / "b.pth")
    assert (again.format, again.location) == (read.format, tuple(location))
    _same(again.state, state)
    outer, inner = again.document, document
    for name in location:
        assert list(outer) == list(inner)
        assert {k: v for k, v in outer.items() if k != name} == {k: v for k, v in inner.items() if k != name}
        outer, inner = outer[name], inner[name]


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.pth.tar", "a.ckpt", "a.safetensors"])
@pytest.mark.parametrize("network", [Net, Tied])
def test_a_model_is_saved_and_read_again(name, network, tmp_path):
    model, other = network(), network()
    digest = checkpoint.save(tmp_path / name, model)
    read = checkpoint.read(tmp_path / name)
    assert read.sha256 == digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    _same(checkpoint.load_into(other, read).state_dict(), model.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_metadata_goes_into_safetensors_only(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", Net(), metadata={"made_by": "detrojan"})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "made_by": "detrojan"}
    with pytest.raises(BadArgument, match=r"only safetensors files hold metadata"):
        checkpoint.save(tmp_path / "a.pt", Net(), metadata={"a": "b"})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("there.pth", r"there.pth exists.*--force"),
        ("in.pth", r"in.pth exists.*--force"),
        ("no/where.pth", r"there is no folder .*no; make it first"),
        ("out.safetensors", r"would hold a torch container, as .*in.pth does"),
        ("folder.pth", r"is a folder"),
    ],
)
def test_a_target_that_must_not_be_written_is_refused(name, sentence, tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "there.pth").write_text("precious")
    read = checkpoint.read(_saved(tmp_path / "in.pth", Net().state_dict()))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(BadArgument, match=sentence):
        checkpoint.write(tmp_path / name, read, Net())
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_force_overwrites_the_input_too(tmp_path):
    read = checkpoint.read(_saved(tmp_path / "in.pth", Net().state_dict()))
    digest = checkpoint.write(tmp_path / "in.pth", read, Net(), force=True)
    assert checkpoint.read(tmp_path / "in.pth").sha256 == digest != read.sha256


def test_a_file_that_is_overwritten_keeps_its_links_and_permissions(tmp_path):
    mine, link = tmp_path / "mine.pth", tmp_path / "link.pth"
    mine.write_text("old")
    mine.chmod(0o640)
    link.symlink_to(mine.name)
    checkpoint.save(link, Net(), force=True)
    assert link.is_symlink()
    assert checkpoint.read(mine).state
    assert stat.S_IMODE(mine.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.pth", "mine.pth"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(BadArgument, match="is no regular file"):
        checkpoint.save(tmp_path / "pipe.pth", Net(), force=True)
    assert (tmp_path / "pipe.pth").is_fifo()


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"no known suffix: choose one of .safetensors, .pt"):
        checkpoint.save(tmp_path / "a.h5", Net())


def test_a_failed_write_leaves_nothing_behind_and_the_old_file_whole(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_text("precious")

    def _fails(document, path, **_):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", _fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path / "a.pth", Net(), force=True)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.pth", "precious")]


def test_a_description_tells_what_a_file_holds(tmp_path):
    state = OrderedDict((f"module.{name}", value) for name, value in _half(Net().state_dict()).items())
    state["module.fc.bias"][0] = float("nan")
    path = _saved(tmp_path / "a.pth", {"epoch": 12, "optimizer": {}, "state_dict": state})
    shown = checkpoint.describe(path)
    assert (shown.format, shown.size, shown.location) == ("torch", path.stat().st_size, ("state_dict",))
    assert (shown.prefix, shown.tensors, shown.num_classes) == ("module.", 9, 3)
    assert shown.parameters == 4 * 27 + 4 + 4 * 4 + 4 * 3 + 3
    assert shown.dtypes == {"float16": 8, "int64": 1}
    assert shown.other_entries == {"epoch": "12", "optimizer": "dict"}
    assert shown.not_finite == ("module.fc.bias",)
    assert shown.shapes["module.fc.weight"] == (3, 4)


def test_a_description_counts_tied_tensors_once(tmp_path):
    shown = checkpoint.describe(_saved(tmp_path / "a.pth", Tied().state_dict()))
    assert (shown.tied, shown.parameters) == ((("embed.weight", "out.weight"),), 20)


@pytest.mark.parametrize(
    ("shapes", "classes"),
    [
        ({"fc.weight": (9, 4), "layer.weight": (4, 4, 1, 1)}, 9),
        ({"head.weight": (9, 4), "layers.0.mlp.weight": (8, 4)}, 9),
        ({"0.weight": (8, 4), "2.weight": (9, 8)}, 9),
        ({"conv.weight": (8, 4, 3, 3)}, None),
    ],
)
def test_the_number_of_classes_is_guessed(shapes, classes, tmp_path):
    path = _saved(tmp_path / "a.pth", {name: torch.zeros(shape) for name, shape in shapes.items()})
    assert checkpoint.describe(path).num_classes == classes
