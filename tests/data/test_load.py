"""The names and paths that `load` understands, and the sentences for those that it does not."""

import pytest
import torch
from PIL import Image

from detrojan.data.load import data_root, load, load_data
from detrojan.errors import BadArgument, BadData, UnknownName


@pytest.mark.parametrize(("split", "count", "first"), [("train", 1201, 0), ("test", 596, 0)])
def test_digits(split, count, first):
    samples = load("digits", split=split)
    assert samples.inputs.shape == (count, 1, 8, 8)
    assert (samples.inputs.min(), samples.inputs.max()) == (0, 255)
    assert samples.labels[0] == first
    assert samples.labels.bincount().min() >= 0.95 * count / 10


def test_digits_can_be_enlarged():
    assert load("digits", split="test", size=16).inputs.shape == (596, 1, 16, 16)


def test_a_path_wins_when_it_is_spelled_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "digits" / name / "x.png")
    assert len(load("./digits")) == 2
    assert len(load("digits")) == 1201


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [("/a", "/b", "/a"), (None, "/b", "/b"), (None, None, "data"), (None, "", "data")],
)
def test_where_named_sets_are_looked_for(given, environment, expected, monkeypatch):
    monkeypatch.delenv("DETROJAN_DATA", raising=False)
    if environment is not None:
        monkeypatch.setenv("DETROJAN_DATA", environment)
    assert str(data_root(given)) == expected


@pytest.mark.parametrize(
    ("source", "settings", "error", "sentence"),
    [
        ("cifar11", {}, UnknownName, "no data set, file or folder 'cifar11', did you mean 'cifar10'"),
        ("no/such/folder", {}, BadData, "no/such/folder: no such file or folder"),
        ("digits", {"split": "val"}, BadArgument, "split must be 'train' or 'test', got 'val'"),
        ("digits:crop=sign", {}, UnknownName, "no setting of data set digits 'crop'"),
        ("gtsrb:crp=sign", {}, UnknownName, "did you mean 'crop'"),
        ("gtsrb", {"crop": "box"}, BadArgument, "gtsrb: crop must be frame | sign, got 'box'"),
        ("gtsrb:sign", {}, BadArgument, "settings are given as gtsrb:key=value, got 'sign'"),
        ("voc:difficult=maybe", {}, BadArgument, "voc: difficult must be bool, got 'maybe'"),
        ("coco:most=-1", {}, BadArgument, "most at least 0, got 224, -1"),
        ("shapes:noise=-0.5", {}, BadArgument, "noise must be at least 0, got -0.5"),
        ("shapes:points=1.5", {}, BadArgument, "shapes: points must be int, got '1.5'"),
        ("numerals:count=abc", {}, BadArgument, "numerals: count must be int, got 'abc'"),
        ("sst2:length=long", {}, BadArgument, "sst2: length must be int, got 'long'"),
        ("sst2", {"length": "long"}, BadArgument, "sst2: length must be int, got 'long'"),
        ("lines", {"path": 123}, BadArgument, "lines: path must be str, got 123"),
        ("lines:path=123", {}, BadData, "lines:path=123: there is no file"),
        ("tinyimagenet:classes=30", {}, BadArgument, "classes must be 20 or 200, got 30"),
    ],
)
def test_sources_that_are_not_understood(source, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        load(source, **settings)


def test_settings_are_read_as_their_types():
    loud, quiet = (load(f"shapes:points=16,per_class=2,noise={noise}") for noise in (0.05, 0))
    assert not torch.equal(loud.inputs, quiet.inputs)
    assert torch.equal(loud.inputs, load("shapes:points=16", per_class=2, noise=0.05).inputs)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "set.mat"
    path.write_bytes(b"")
    with pytest.raises(BadData, match=r"set.mat: samples are read from a folder, a .npz or a .parquet file"):
        load(path)


def test_a_path_takes_no_settings(tmp_path):
    with pytest.raises(BadArgument, match="only named data sets take settings, got crop"):
        load(tmp_path, crop="sign")


def test_the_public_name_is_the_same_call():
    assert load_data is load
