"""Where a figure comes from: commit and date as they were when the script started, and the machine."""

import torch

from detrojan.bench import origin as package

_AT_START = package.origin()


def origin() -> dict[str, str]:
    """The facts that stand beside every figure; a commit with uncommitted changes gets a plus sign."""
    return {**_AT_START, "machine": f"{_AT_START['machine']}, {torch.get_num_threads()} threads"}
