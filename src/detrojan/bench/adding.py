"""A stranger's defense in one file: tried on a small network, then put where the registry finds it."""

import copy
import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadFile
from detrojan.purification import purify
from detrojan.randomness import Seeds
from detrojan.registry import ADDED, added_methods, from_file
from detrojan.whole_files import beside

CLASSES, SIDE, COUNT = 3, 8, 60


def add_defense(path: Path, *, force: bool = False) -> Path:
    """Try the defense of a file, and copy it to the folder of added methods; returns where it is now.

    The file is run. Its last word is `METHOD`, a frozen dataclass of settings that is called with a network, samples
    and a context, as those of `detrojan.defenses` are.

    Raises:
        BadFile: it is no such file, or what it makes of a small network breaks the contract; the sentence says how.
        BadArgument: its name can be no method's, or a method of this name is there already.
    """
    if path.suffix != ".py" or not path.is_file():
        raise BadFile(f"{path} is no Python file; give the file of a defense")
    if not fnmatchcase(path.name, ADDED) or "." in path.stem:
        raise BadArgument(
            f"{path.name}: the file of a method begins with a small letter and has no dot but that of .py, or it would "
            "not be found by its name; give the file another name"
        )
    target = added_methods(DEFENSES.package) / path.name
    ours = {name for name in DEFENSES if name != path.stem or not target.exists()}
    if path.stem in ours:
        raise BadArgument(f"a defense named {path.stem!r} comes with Detrojan or a package; give the file another name")
    if target.exists() and not force:
        raise BadArgument(f"{target} exists already; overwrite it with --force, or give the file another name")
    try:
        method = from_file(path.resolve(), package=f"{DEFENSES.package}.tried").METHOD
        _try(method())
    except Exception as error:  # a stranger's file may raise anything
        raise BadFile(f"{path} is not a defense that can be compared: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with beside(target) as unfinished:
        shutil.copyfile(path, unfinished)
    return target


def _try(method: Any) -> None:
    """The contract of every defense, on a network that knows three colours."""
    victim, clean = _victim()
    before = copy.deepcopy(victim.state_dict())
    results = [purify(victim, clean, method=method, seed=1, device="cpu", tolerance=1.0) for _ in range(2)]
    _alike(before, victim.state_dict(), "it changes the network that it is given; work on a copy")
    one, again = (result.model.state_dict() for result in results)
    if list(one) != list(before) or any(one[key].shape != before[key].shape for key in before):
        raise BadFile("the network that it returns has other weights than the one that it got")
    _alike(one, again, "the same seed gives another network; draw from context.seeds alone")
    try:
        json.dumps([dict(results[0].notes), dict(results[0].settings)])
    except (TypeError, ValueError) as error:
        raise BadFile(f"its notes or settings hold what JSON cannot ({error}); use numbers and words") from error
    if not results[0].verdict.accepted:
        raise BadFile(results[0].verdict.reason)


def _alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], sentence: str) -> None:
    if any(not torch.equal(first[key], second[key]) for key in first):
        raise BadFile(sentence)


def _victim() -> tuple[nn.Module, Samples]:
    seeds = Seeds(seed=0)
    labels = torch.arange(COUNT) % CLASSES
    inputs = torch.randint(0, 60, (COUNT, 3, SIDE, SIDE), generator=seeds.generator("colours"), dtype=torch.uint8)
    inputs[torch.arange(COUNT), labels] += 150
    with seeds.seeded("small network"):
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        )
    return network, Samples(inputs=inputs, labels=labels, name="three colours")
