"""Detrojan removes backdoors (trojans) from trained neural networks.

Public names are imported when first used, so that `detrojan --help` answers without importing torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "ATTACKS": "detrojan.attacks",
    "DEFENSES": "detrojan.defenses",
    "Backdoor": "detrojan.backdoor",
    "DetrojanError": "detrojan.errors",
    "Masks": "detrojan.masks",
    "Preprocessing": "detrojan.data.preprocessing",
    "Recipe": "detrojan.recipe",
    "Samples": "detrojan.data.samples",
    "TASKS": "detrojan.tasks",
    "evaluate": "detrojan.evaluation.protocol",
    "der": "detrojan.evaluation.protocol",
    "load_data": "detrojan.data.load",
    "purify": "detrojan.purification",
    "train": "detrojan.victim",
    "trigger": "detrojan.backdoor",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'detrojan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
