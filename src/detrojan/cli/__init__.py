"""The command line: verbs and no logic; the signature of a verb is its interface.

Nothing here imports torch before a verb runs, so that `detrojan --help` answers at once.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App

from detrojan import __version__
from detrojan.cli.console import complain
from detrojan.cli.failures import explain

VERBS = {
    "purify": "Remove a backdoor from a network with a few clean samples.",
    "evaluate": "Score a network under a known trigger: ACC, ASR, RA and DER.",
    "train": "Train a backdoored network, to test defenses on.",
    "list": "List the attacks, defenses, tasks, data sets, architectures, and what the bench has.",
    "attack show": "Draw a few images without and with an attack's trigger.",
    "show": "Tell what a weights file holds, without running anything from it.",
    "bench run": "Make the rows of a grid: victims, purifications, scores; goes on after a kill.",
    "bench table": "Write the table of a grid from the rows that are there.",
    "bench page": "Write the page of a grid: sortable, filterable, one file.",
    "bench export": "Write all rows as CSV, JSON or Parquet.",
    "bench merge": "Take over the rows of other stores.",
    "bench add-method": "Try a stranger's defense and add it to those that are known by name.",
    "demo": "Make a backdoored network and purify it, in a minute, on data that needs no download.",
}
GROUPS = {
    "attack": "Look at an attack: show.",
    "bench": "Compare defenses: run, table, page, export, merge, add-method.",
}
"""The first words of verbs that have two."""
EPILOGUE = """\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the purified model was rejected and rolled back.

--traceback (or DETROJAN_TRACEBACK=1) shows where an error arose."""

app = App(
    name="detrojan",
    help="Removes backdoors (trojans) from trained neural networks.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for _place, (_verb, _sentence) in enumerate(VERBS.items()):
    *_group, _name = _verb.split()
    if _group and _group[0] not in app:
        app.command(App(name=_group, help=GROUPS[_group[0]], help_format="plaintext", sort_key=_place))
    _owner = app[_group[0]] if _group else app
    _module = "_".join((*_group, _name)).replace("-", "_")
    _owner.command(f"detrojan.cli.verbs.{_module}:run", name=_name, help=_sentence, sort_key=_place)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every failure becomes one sentence on stderr."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    wants_traceback = "--traceback" in tokens or os.environ.get("DETROJAN_TRACEBACK", "") not in ("", "0")
    tokens = [token for token in tokens if token != "--traceback"]  # noqa: S105 - a flag
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if wants_traceback:
            traceback.print_exc()
        code, sentence = explain(error)
        complain(sentence)
        if "--json" in tokens:
            document = {"error": sentence, "kind": type(error).__name__, "exit_code": code}
            sys.stdout.write(json.dumps(document) + "\n")
    return code or 0
