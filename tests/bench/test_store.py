"""Rows survive, one process writes, strangers' files are left alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from detrojan.bench.export import export
from detrojan.bench.store import Row, Store
from detrojan.errors import BadArgument, BadFile


def row(key, value=0.5):
    return Row(
        key=key,
        kind="cell",
        spec={"victim": {"attack": "blend", "recipe": {"epochs": 2}}, "seed": 1},
        result={"acc": {"value": value}, "notes": {}},
        origin={"commit": "abc"},
    )


def test_a_row_comes_back_as_it_was_and_is_never_overwritten(tmp_path):
    with Store(tmp_path / "rows.db") as store:
        store.put(row("a"))
        store.put(row("a", 0.9))
    again = Store(tmp_path / "rows.db")
    assert again.get("a") == row("a")
    assert again.get("b") is None
    assert list(again) == [row("a")]
    assert (again.keys(), len(again)) == ({"a"}, 1)


def test_there_is_one_writer(tmp_path):
    with Store(tmp_path / "rows.db") as store:
        store.put(row("a"))
        with pytest.raises(BadArgument, match="written by another process"):
            Store(tmp_path / "rows.db").__enter__()
    with Store(tmp_path / "rows.db") as store:
        store.put(row("b"))
    with pytest.raises(BadArgument, match="open for reading"):
        Store(tmp_path / "rows.db").put(row("c"))


@pytest.mark.parametrize("damage", ["middle", "document"])
def test_a_damaged_store_is_told_by_its_file(tmp_path, damage):
    path = tmp_path / "rows.db"
    with closing(Store(path)) as store, store:
        for key in range(200):
            store.put(row(str(key)))
    if damage == "middle":
        content = bytearray(path.read_bytes())
        content[4096:] = b"x" * (len(content) - 4096)
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as direct, direct:
            direct.execute("UPDATE rows SET result = '{'")
    with pytest.raises(BadFile, match=r"rows\.db is damaged"):
        list(Store(path))


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadArgument, match="is no folder; name a folder"):
        Store(tmp_path / "file" / "rows.db")


def test_a_killed_writer_leaves_no_lock(tmp_path):
    script = (
        "import time; from pathlib import Path; from detrojan.bench.store import Store\n"
        f"with Store(Path({str(tmp_path)!r}) / 'rows.db'): print('in', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "in\n"
    with pytest.raises(BadArgument, match="another process"), Store(tmp_path / "rows.db"):
        pass
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    time.sleep(0.05)
    with Store(tmp_path / "rows.db") as store:
        store.put(row("a"))


def test_two_stores_merge(tmp_path):
    for name, keys in (("one", "ab"), ("two", "bc")):
        with Store(tmp_path / name / "rows.db") as store:
            for key in keys:
                store.put(row(key))
    with Store(tmp_path / "one" / "rows.db") as store:
        assert store.merge([tmp_path / "two" / "rows.db"]) == 1
        assert store.keys() == {"a", "b", "c"}
        with pytest.raises(BadFile, match="is not there"):
            store.merge([tmp_path / "three.db"])


def test_other_files_are_refused_and_stay_as_they_are(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, but a text of some length")
    with pytest.raises(BadFile, match="is no store of rows"):
        Store(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(BadFile, match="a database of something else"):
        Store(tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "later.db") as later:
        later.execute("PRAGMA user_version=9")
    with pytest.raises(BadFile, match="format 9"):
        Store(tmp_path / "later.db")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_rows_are_exported_flat(tmp_path, suffix):
    with Store(tmp_path / "rows.db") as store:
        store.put(row("a"))
        path = tmp_path / f"rows{suffix}"
        assert export(store, path) == 1
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        found = parquet.read_table(path).to_pylist()[0]
    else:
        text = path.read_text()
        assert "victim.attack" in text
        assert "acc.value" in text
        return
    assert found["victim.attack"] == "blend"
    assert found["acc.value"] == 0.5
    assert found["victim.recipe"] == '{"epochs": 2}'


def test_an_unknown_export_format_is_refused(tmp_path):
    with Store(tmp_path / "rows.db") as store, pytest.raises(BadArgument, match=r"\.csv, \.json, \.parquet, \.jsonl"):
        export(store, tmp_path / "rows.xlsx")


def test_lines_hold_rows_whole_and_are_taken_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Store(tmp_path / "one" / "rows.db") as store:
        for key in "abc":
            store.put(row(key))
        assert export(store, path, keys={"a", "c"}) == 2
        kept = {r.key: r for r in store}
    with Store(tmp_path / "two" / "rows.db") as store:
        assert store.merge([path]) == 2
        assert store.merge([path]) == 0
        assert list(store) == [kept["a"], kept["c"]]


@pytest.mark.parametrize(
    "line", ["{", '{"key": "a"}', '{"key": 3, "kind": "cell", "spec": [], "result": {}, "origin": {}}', "[]"]
)
def test_a_line_that_is_no_row_is_refused_and_none_is_taken(tmp_path, line):
    with Store(tmp_path / "rows.db") as store:
        store.put(row("a"))
        export(store, tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text((tmp_path / "rows.jsonl").read_text() + line + "\n")
    with Store(tmp_path / "other" / "rows.db") as store:
        with pytest.raises(BadFile, match=r"rows\.jsonl, line 2 is no row of a bench"):
            store.merge([tmp_path / "rows.jsonl"])
        assert len(store) == 0
