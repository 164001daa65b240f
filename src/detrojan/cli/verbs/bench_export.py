"""`detrojan bench export`: all rows of a store in a format that other tools read."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen
from detrojan.cli.options import BENCH, Flag


def run(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    store: Path = Path("bench"),
    grid: str | None = None,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Write rows as one flat table: a column a field, named by its place, such as victim.attack or asr.value.

    Args:
        out: The file to write; its suffix says how: .csv, .json or .parquet, or .jsonl for the rows as they are, which
            `detrojan bench merge` takes back.
        store: The folder of the rows.
        grid: Write only the rows of this grid, and of its victims.
        force: Overwrite a file that exists.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    outputs.check(out, force=force)
    from detrojan.bench.export import export

    keys = None if grid is None else reading.grid(grid, BENCH).keys
    count = export(reading.rows(store), out, keys=keys)
    screen.say(f"Wrote {count} rows to {out}")
    screen.finish({"verb": "bench export", "rows": count, "out": out, "exit_code": 0})
    return 0
