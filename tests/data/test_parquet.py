"""Parquet image sets as the Hugging Face hub keeps them."""

import io
import json
import sys

import pytest
from PIL import Image

from detrojan.data.load import load
from detrojan.errors import BadData, BadFile, MissingExtra


def encoded(value, size=(4, 4)):
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(file, format="PNG")
    return file.getvalue()


def rows(*values):
    return [{"bytes": encoded(value), "path": f"{value}.png"} for value in values]


def write(path, *, names=(), **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    return path


def test_one_file(tmp_path):
    path = write(tmp_path / "a.parquet", names=("cat", "dog"), image=rows(1, 2, 3), label=[0, 1, 0])
    samples = load(path)
    assert samples.inputs[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert samples.labels.tolist() == [0, 1, 0]
    assert samples.class_names == ("cat", "dog")


def test_plain_bytes_under_other_names(tmp_path):
    path = write(tmp_path / "a.parquet", img=[encoded(5), encoded(6)], fine_label=[3, 4])
    samples = load(path, size=2)
    assert (samples.inputs.shape, samples.labels.tolist(), samples.class_names) == ((2, 3, 2, 2), [3, 4], ())


@pytest.mark.parametrize(("split", "expected"), [("train", [1, 2, 3]), ("test", [9])])
@pytest.mark.parametrize("sub", ["", "data"])
def test_a_folder_of_shards(tmp_path, split, expected, sub):
    (tmp_path / sub).mkdir(exist_ok=True)
    write(tmp_path / sub / "train-00000-of-00002.parquet", image=rows(1, 2), label=[0, 1])
    write(tmp_path / sub / "train-00001-of-00002.parquet", image=rows(3), label=[1])
    write(tmp_path / sub / "validation-00000-of-00001.parquet", image=rows(9), label=[0])
    assert load(tmp_path, split=split).inputs[:, 0, 0, 0].tolist() == expected


def test_a_folder_without_the_split(tmp_path):
    write(tmp_path / "train-0.parquet", image=rows(1), label=[0])
    with pytest.raises(BadData, match=r"no parquet file for split 'test', only train-0.parquet"):
        load(tmp_path, split="test")


@pytest.mark.parametrize(
    ("columns", "error", "sentence"),
    [
        ({"pic": rows(1), "label": [0]}, BadData, "needs a column named image or img .*found pic, label"),
        ({"image": rows(1), "text": ["a"]}, BadData, "needs a column named label"),
        ({"image": rows(1), "label": ["cat"]}, BadData, "must hold class numbers, found 'cat' in row 0"),
        ({"image": rows(1, 2), "label": [0, None]}, BadData, "found None in row 1"),
        ({"image": [{"bytes": None, "path": "a.png"}], "label": [0]}, BadData, "row 0: .* found a path only"),
        ({"image": [b"junk"], "label": [0]}, BadFile, r"a.parquet, row 0: not a readable image"),
        ({"image": [encoded(1), encoded(1, (5, 4))], "label": [0, 1]}, BadData, "row 1 is 5 x 4 pixels"),
    ],
)
def test_files_that_cannot_serve(tmp_path, columns, error, sentence):
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(error, match=sentence):
        load(path)


def test_a_damaged_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(BadFile, match=r"a.parquet: not a readable parquet file"):
        load(tmp_path / "a.parquet")


def test_no_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    path = write(tmp_path / "a.parquet", image=pyarrow.array([], pyarrow.binary()), label=pyarrow.array([], "int64"))
    with pytest.raises(BadData, match="holds no rows"):
        load(path)


def test_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'detrojan\[parquet\]'"):
        load(tmp_path / "a.parquet")
