"""Where finished rows lie: one SQLite file with one writer; any number of readers; two files can be merged."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from detrojan.errors import BadArgument, BadFile

FORMAT = 1
LINES = ".jsonl"
"""The suffix of files that hold rows as JSON, a line each."""
_TABLE = """
CREATE TABLE IF NOT EXISTS rows (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, spec TEXT NOT NULL, result TEXT NOT NULL, origin TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of a finished victim or cell.

    `spec` is what was asked for, `result` what was measured, `origin` where and by which code. All are JSON documents.
    """

    key: str
    kind: str
    spec: Mapping[str, Any]
    result: Mapping[str, Any]
    origin: Mapping[str, Any]


class Store:
    """The rows of a sweep. As a context manager it is the writer, of which there can be one at a time.

    A row is there or it is not: each is a transaction of its own. The lock is held by the operating system on a file
    beside the store, and is gone when its process is, however that ended.

    Raises:
        BadFile: the file is no such store, or a damaged one.
        BadArgument: another process writes to it, or its folder is a file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise BadArgument(f"{self.path.parent} is no folder; name a folder for the rows") from error
        self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise BadFile(f"{self.path} is a store of format {found}, this version reads {FORMAT}; update Detrojan")
            if found == 0 and self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise BadFile(f"{self.path} is a database of something else; name another file")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise BadFile(f"{self.path} is no store of rows ({error}); name another file") from error
        except BadFile:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        lock = sqlite3.connect(self.path.with_name(f".{self.path.name}.lock"), timeout=0, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            raise BadArgument(
                f"{self.path} is being written by another process; wait for it, or give this sweep a store of its own "
                "and merge them afterwards"
            ) from error
        self._lock = lock
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def put(self, row: Row) -> None:
        """Write a row; a row with this key stays as it is."""
        if self._lock is None:
            raise BadArgument(f"{self.path} is open for reading; write inside `with store:`")
        documents = (json.dumps(part, sort_keys=True) for part in (row.spec, row.result, row.origin))
        self._ask("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)", row.key, row.kind, *documents)

    def get(self, key: str) -> Row | None:
        """The row with this key, if there is one."""
        found = self._ask("SELECT * FROM rows WHERE key = ?", key)
        return self._row(found[0]) if found else None

    def keys(self) -> set[str]:
        """The keys of all rows."""
        return {key for (key,) in self._ask("SELECT key FROM rows")}

    def __iter__(self) -> Iterator[Row]:
        yield from map(self._row, self._ask("SELECT * FROM rows ORDER BY key"))

    def __len__(self) -> int:
        return int(self._ask("SELECT count(*) FROM rows")[0][0])

    def merge(self, others: Iterable[Path | str]) -> int:
        """Take over the rows of other stores, or of files of JSON lines, that are not here yet; returns how many."""
        before = len(self)
        for path in map(Path, others):
            if not path.is_file():
                raise BadFile(f"{path} is not there; name a store that `detrojan bench run` wrote")
            if path.suffix == LINES:
                for row in list(_lines(path)):  # all are read before the first is taken
                    self.put(row)
                continue
            with closing(Store(path)) as other:
                for row in other:
                    self.put(row)
        return len(self) - before

    def _ask(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError:  # busy, disk full: the file may be sound
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _row(self, found: tuple[Any, ...]) -> Row:
        key, kind, *documents = found
        try:
            spec, result, origin = map(json.loads, documents)
        except ValueError as error:
            raise self._damaged(error) from error
        return Row(key=key, kind=kind, spec=spec, result=result, origin=origin)

    def _damaged(self, error: Exception) -> BadFile:
        return BadFile(f"{self.path} is damaged ({error}); put it aside; `sqlite3 FILE .recover` may save rows")


def _lines(path: Path) -> Iterator[Row]:
    """The rows that `bench export` wrote as JSON lines."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            yield TypeAdapter(Row).validate_python(json.loads(line))
        except ValueError as error:  # no JSON, or no row: pydantic's error is one, too
            told = str(error).partition("\n")[0]
            raise BadFile(f"{path}, line {number} is no row of a bench ({told}); export the file anew") from error
