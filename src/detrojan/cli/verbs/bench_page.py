"""`detrojan bench page`: a grid's table as a page that sorts and filters itself."""

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
    """Write the page of a grid from the rows that are there: one file that needs no network.

    Args:
        grid: A grid of `detrojan list grids`, or a TOML file.
        out: The HTML file to write; by default the grid's name with .html, here.
        force: Overwrite a file that exists.
        json: Print one JSON document on stdout, and nothing else there.
        bench: See `Bench`.
    """
    screen = Screen(as_json=json)
    out = out or Path(f"{Path(grid).stem}.html")
    outputs.check(out, force=force)
    from detrojan.bench.tables import tabulate
    from detrojan.report.leaderboard import write

    found, store = reading.grid(grid, bench), reading.rows(bench.store)
    table = tabulate(found, store)
    write(table, {row.key: row for row in store}, out, command=f"detrojan bench run {grid}", force=force)
    screen.say(f"Wrote {out}: {len(table.entries)} entries, {table.missing} cells of the grid have no row yet")
    screen.finish({"verb": "bench page", "out": out, "missing": table.missing, "exit_code": 0})
    return 0
