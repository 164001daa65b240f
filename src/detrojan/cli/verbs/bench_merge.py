"""`detrojan bench merge`: the rows of several machines in one store."""

from pathlib import Path

from detrojan.cli import reading
from detrojan.cli.console import Screen
from detrojan.cli.options import Flag
from detrojan.errors import BadFile


def run(first: Path, /, *others: Path, store: Path = Path("bench"), json: Flag = False) -> int:
    """Take over the rows of other stores that are not here yet; the victims' weights stay where they are.

    Args:
        first: The folder of a store, or a .jsonl file that `detrojan bench export` wrote.
        others: More of them.
        store: The folder that takes them in.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    sources = [path if path.suffix == ".jsonl" else path / "rows.db" for path in (first, *others)]
    if missing := [path for path in sources if not path.is_file()]:  # before a store is made for nothing
        raise BadFile(f"{missing[0]} is not there; name the folder of a store, or a file of `detrojan bench export`")
    with reading.rows(store, new=True) as ours:
        taken = ours.merge(sources)
    screen.say(f"{taken} new rows in {store}")
    screen.finish({"verb": "bench merge", "taken": taken, "store": store, "exit_code": 0})
    return 0
