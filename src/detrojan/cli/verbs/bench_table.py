"""`detrojan bench table`: a grid's table from the rows that are there."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from detrojan.cli import outputs, reading
from detrojan.cli.console import Screen
from detrojan.cli.options import BENCH, Bench, Flag


def run(
    grid: str,
    /,
    *,
    bench: Bench = BENCH,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Write the table of a grid as Markdown: ASR and ACC of each defense on each victim, the paper's beside ours.

    Args:
        grid: A grid of `detrojan list grids`, or a TOML file.
        out: The file to write; by default it is printed.
        force: Overwrite a file that exists.
        json: Print one JSON document on stdout, and nothing else there.
        bench: See `Bench`.
    """
    screen = Screen(as_json=json)
    outputs.check(out, force=force)
    from detrojan.bench.tables import markdown, tabulate
    from detrojan.whole_files import write_text

    table = tabulate(reading.grid(grid, bench), reading.rows(bench.store))
    if out is None:
        screen.say(markdown(table))
    else:
        write_text(out, markdown(table))
        screen.say(f"Wrote {out}")
    screen.finish({"verb": "bench table", "table": table, "out": out, "exit_code": 0})
    return 0
