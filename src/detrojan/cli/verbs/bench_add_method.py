"""`detrojan bench add-method`: a stranger's defense joins the table."""

from pathlib import Path

from detrojan.cli.console import Screen
from detrojan.cli.options import Flag


def run(file: Path, /, *, force: Flag = False, json: Flag = False) -> int:
    """Try a defense that stands in one file of its own, and add it to those that every verb knows by name.

    The file is run; read it first. Its name becomes the defense's name. It goes to the folder of added methods,
    `.detrojan/methods` at home or what DETROJAN_METHODS names; remove it there to be rid of it.

    Args:
        file: The Python file; its METHOD is a frozen dataclass that is called like those of `detrojan list defenses`.
        force: Replace an added method of this name.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    from detrojan.bench.adding import add_defense

    target = add_defense(file, force=force)
    screen.say(f"{file.stem} holds the contract and is now a defense: {target}")
    screen.finish({"verb": "bench add-method", "name": file.stem, "file": target, "exit_code": 0})
    return 0
