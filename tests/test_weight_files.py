"""Files of every kind: the formats that are read, and one clear sentence for everything that is no such file."""

import hashlib
import json
import pickle
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from detrojan import checkpoint
from detrojan.errors import BadArgument, BadFile


class Net(nn.Module):
    """A convolution, a norm and a head."""

    def __init__(self, num_classes=3, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)


def _saved(path, document, **options):
    torch.save(document, path, **options)
    return path


def _same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".tar", ".pth.tar", ".ckpt", ".safetensors", ".pkl"])
@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch-legacy"])
def test_the_content_says_the_format_whatever_the_name(kind, suffix, tmp_path):
    path, state = tmp_path / f"a{suffix}", Net().state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    read = checkpoint.read(path)
    assert read.format == kind
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    _same({name: read.state[name] for name in state}, state)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def _torchscript(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(path)


def _cut(path):
    _saved(path, Net().state_dict())
    path.write_bytes(path.read_bytes()[:-700])


def _flip(path):
    """One bit of a weight: torch reads it without a word, the archive's checksum tells."""
    _saved(path, {"w": torch.arange(1000.0)})
    raw = bytearray(path.read_bytes())
    raw[raw.find(np.arange(100, 200, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(raw)


def _tar(path):
    path.write_bytes(b"weights".ljust(257, b"\0") + b"ustar\0" + bytes(300))


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        (
            "a.pth",
            lambda p: torch.save(nn.Linear(2, 2), p),
            r"global torch.nn.modules.linear.Linear.*never unpickles.*state_dict",
        ),
        (
            "a.pth",
            lambda p: torch.save({"net": Net().state_dict(), "x": Evil()}, p),
            r"global .*touch|getattr.*never unpickles",
        ),
        ("a.pt", lambda p: torch.save(nn.Linear(2, 2), p, _use_new_zipfile_serialization=False), r"never unpickles"),
        ("a.pth", lambda p: torch.save({"acc": np.ones(2)}, p), r"global numpy.*_reconstruct"),
        ("a.pkl", lambda p: p.write_bytes(pickle.dumps({"a": 1})), r"plain Python pickle.*never unpickles"),
        ("a.pt", _torchscript, r"TorchScript archive"),
        ("a.onnx", lambda p: p.write_bytes(b"\x08\x08\x12\x07pytorch"), r"ONNX file"),
        ("a.pth", lambda p: p.write_bytes(b"\x08\x08\x12\x07pytorch"), r"ONNX file"),
        ("a.pth", _cut, r"damaged or truncated"),
        ("a.pth", _flip, r"damaged or truncated \(the checksum of a/data/0 does not fit\)"),
        ("a.pth", lambda p: p.write_bytes(b""), r"is empty"),
        ("a.pth", lambda p: p.write_bytes(b"12345"), r"no weights file, or its start is damaged"),
        ("a.pth", lambda p: p.write_text("\n<!DOCTYPE html><html>"), r"web page.*raw file"),
        (
            "a.pth",
            lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid"),
            r"Git LFS pointer.*git lfs pull",
        ),
        ("a.h5", lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n"), r"HDF5"),
        ("a.gz", lambda p: p.write_bytes(b"\x1f\x8b\x08"), r"gzip"),
        ("a.tar", _tar, r"tar archive"),
        ("a.pth", _zip, r"zip archive, but torch.save did not write it"),
        ("a.safetensors", lambda p: p.write_bytes(b"\x10\0\0\0\0\0\0\0{broken json....."), r"damaged or truncated"),
        ("a.pth", lambda p: p.mkdir(), r"is a folder: name a weights file"),
    ],
)
def test_what_is_no_weights_file_is_said_in_one_sentence(name, make, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / name)
    with pytest.raises(BadFile, match=sentence) as caught:
        checkpoint.read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("touched").exists()


@pytest.mark.parametrize("number", [np.float64(0.9), np.float32(0.5), np.int64(-3), np.uint8(7), np.bool_(True)])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_numpy_number_beside_the_weights_is_read(number, legacy, tmp_path):
    document = {"net": Net().state_dict(), "acc": number}
    path = _saved(tmp_path / "a.pth", document, _use_new_zipfile_serialization=not legacy)
    found = checkpoint.read(path).document["acc"]
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("number", [np.datetime64("2020"), np.complex64(1), np.str_("word"), np.array([None])])
def test_other_numpy_objects_are_refused(number, tmp_path):
    with pytest.raises(BadFile, match=r"global numpy\..*never unpickles"):
        checkpoint.read(_saved(tmp_path / "a.pth", {"net": Net().state_dict(), "x": number}))


def test_a_missing_file_and_a_folder_name_what_is_near(tmp_path):
    _saved(tmp_path / "suspect.pth", {})
    with pytest.raises(BadFile, match=r"there is no file .*suspcet.pth, did you mean .*suspect.pth\?"):
        checkpoint.read(tmp_path / "suspcet.pth")
    with pytest.raises(BadFile, match=r"is a folder: name one of the files in it: suspect.pth"):
        checkpoint.read(tmp_path)
    with pytest.raises(BadFile, match=r"there is no file .*: check the path"):
        checkpoint.read(tmp_path / "nowhere" / "x.pth")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch-legacy"])
def test_a_damaged_file_gives_a_sentence_and_no_other_exception(kind, tmp_path):
    """A flip may leave a readable file of other values where the format has no checksum; nothing else is raised."""
    path, rng = tmp_path / "a.pth", random.Random(0)
    document = Net().state_dict()
    if kind == "safetensors":
        save_file(document, path, metadata={"format": "pt"})
    else:
        torch.save({"net": document, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "torch")
    whole, refused = path.read_bytes(), 0
    for trial in range(150):
        raw = bytearray(whole)
        if trial % 3 == 0:
            del raw[rng.randrange(len(raw)) :]
        else:
            reach = len(raw) if trial % 3 == 1 else 600  # everywhere, and in the header
            for _ in range(rng.choice((1, 8))):
                raw[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)
        try:
            assert checkpoint.read(path).state
        except BadFile:
            refused += 1
    assert refused >= 50


def _sharded(folder, files):
    state, weight_map = Net().state_dict(), {}
    for index, name in enumerate(files):
        part = {key: value for place, (key, value) in enumerate(state.items()) if place % len(files) == index}
        save_file(part, folder / Path(name).name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder / "model.safetensors.index.json", state


def test_shards_are_read_as_one(tmp_path):
    index, state = _sharded(tmp_path, ["model-1.safetensors", "model-2.safetensors"])
    read = checkpoint.read(index)
    assert read.size == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    loaded = checkpoint.load_into(Net(), read)
    _same(loaded.state_dict(), state)
    with pytest.raises(BadArgument, match="suffix"):
        checkpoint.write(tmp_path / "out.pth", read, loaded)
    checkpoint.write(tmp_path / "out.safetensors", read, loaded)
    assert checkpoint.read(tmp_path / "out.safetensors").state.keys() == state.keys()


def test_an_index_that_leads_elsewhere_is_refused(tmp_path):
    index, _ = _sharded(tmp_path, ["../model-1.safetensors"])
    with pytest.raises(BadFile, match=r"'../model-1.safetensors' outside its own folder"):
        checkpoint.read(index)
    index.write_text("[]")
    with pytest.raises(BadFile, match=r"no index of safetensors shards"):
        checkpoint.read(index)
    index, _ = _sharded(tmp_path, ["model-1.safetensors"])
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(BadFile, match=r"there is no file .*model-1.safetensors"):
        checkpoint.read(index)
