"""Rows as files: a flat table for other tools (CSV, JSON, Parquet), or as they are, a line each (JSON lines)."""

import csv
import io
import json
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detrojan.bench.store import LINES, Row, Store
from detrojan.errors import BadArgument, MissingExtra
from detrojan.whole_files import beside, write_text

Flat = dict[str, Any]


def export(store: Store, path: Path, *, keys: Container[str] | None = None) -> int:
    """Write the rows of these keys (by default all), in the format that the suffix names; returns how many.

    In a flat table nested fields are named by their place (`victim.attack`, `asr.value`); what has no single value is
    JSON text. JSON lines hold rows whole: `Store.merge` takes them back.

    Raises:
        BadArgument: the suffix is none of .csv, .json, .jsonl, .parquet.
        MissingExtra: Parquet without pyarrow.
    """
    if path.suffix not in (*FLAT, LINES):
        raise BadArgument(f"{path} has no known suffix; end it in one of {', '.join((*FLAT, LINES))}")
    rows = [row for row in store if keys is None or row.key in keys]
    if path.suffix == LINES:
        write_text(path, "".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows))
    else:
        FLAT[path.suffix]([_flat(row) for row in rows], path)
    return len(rows)


def _flat(row: Row) -> Flat:
    found: Flat = {"key": row.key, "kind": row.kind}
    for part in (row.spec, row.result, row.origin):
        _spread(part, "", found)
    return found


def _spread(value: Mapping[str, Any], prefix: str, into: Flat) -> None:
    for key, item in value.items():
        if isinstance(item, Mapping) and item and not key.endswith(("settings", "recipe", "notes")):
            _spread(item, f"{prefix}{key}.", into)
        else:
            into[f"{prefix}{key}"] = json.dumps(item, sort_keys=True) if isinstance(item, Mapping | list) else item


def _columns(rows: list[Flat]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _csv(rows: list[Flat], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _json(rows: list[Flat], path: Path) -> None:
    write_text(path, json.dumps(rows, indent=1) + "\n")


def _parquet(rows: list[Flat], path: Path) -> None:
    try:
        from pyarrow import Table, parquet
    except ImportError as error:
        raise MissingExtra(f"{path}: Parquet needs pyarrow: pip install 'detrojan[parquet]'") from error
    columns = {column: [row.get(column) for row in rows] for column in _columns(rows)}
    with beside(path) as unfinished:
        parquet.write_table(Table.from_pydict(columns), unfinished)


FLAT: dict[str, Callable[[list[Flat], Path], None]] = {".csv": _csv, ".json": _json, ".parquet": _parquet}
