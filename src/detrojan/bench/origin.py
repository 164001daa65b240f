"""Where a figure comes from: the release and commit of the code, the date, the machine."""

import platform
import subprocess
from datetime import date
from functools import cache
from pathlib import Path

import torch

from detrojan import __version__


@cache
def origin() -> dict[str, str]:
    """The facts that stand beside every row, as they were when this process first asked.

    `commit` is that of the checkout which the package runs from, with a plus sign where files were changed; it is empty
    for an installed package.
    """
    return {
        "version": __version__,
        "commit": _commit(),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, torch {torch.__version__}",
    }


def _commit() -> str:
    here = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return ""

    def git(*words: str) -> str:
        try:
            ran = subprocess.run(["git", *words], capture_output=True, text=True, cwd=here, check=False)  # noqa: S603, S607
            return ran.stdout.strip()
        except OSError:
            return ""

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
