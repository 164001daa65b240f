"""`detrojan bench export`: all rows of a store in a format that other tools read."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen
from detrojan.cli.options import Flag


def run(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    store: Path = Path("bench"),
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Write all rows as one flat table: a column a field, named by its place, such as victim.attack or asr.value.

    Args:
        out: The file to write; its suffix says how: .csv, .json or .parquet.
        store: The folder of the rows.
        force: Overwrite a file that exists.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    outputs.check(out, force=force)
    from detrojan.bench.export import export

    count = export(reading.rows(store), out)
    screen.say(f"Wrote {count} rows to {out}")
    screen.finish({"verb": "bench export", "rows": count, "out": out, "exit_code": 0})
    return 0
