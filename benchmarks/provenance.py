"""Where a figure comes from: commit, date, machine."""

import platform
import subprocess
from datetime import date
from pathlib import Path

import torch


def origin() -> dict[str, str]:
    """The facts that stand beside every figure; a commit with uncommitted changes gets a plus sign."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=here, check=False).stdout.strip()

    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return {
        "commit": git("rev-parse", "--short", "HEAD") + changed,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
