"""Options that several verbs share, as records; a verb takes a record and its flags appear in the verb's help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

Pairs = Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True, show_default=False)]
"""`key=value ...` after one flag, or the flag several times."""
Labels = Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True, show_default=False)]
"""`1 2 3` after one flag."""
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Split = Literal["train", "test"]
# The package's own types stand in modules that import torch; a test compares them with these.
Precision = Literal["auto", "fp32", "bf16"]
Mapping = Literal["all-to-one", "all-to-all"]
Pool = Literal["auto", "non-target", "target", "all"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Which network the weights belong to."""

    arch: str
    """The architecture: a name of `detrojan list architectures`, such as torchvision:resnet18, or file.py:callable."""
    arch_arg: Pairs = ()
    """Settings of the architecture, such as num_classes=10."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """How stored images are found and become a network's input."""

    preprocess: str | None = None
    """How pixels become inputs: none, cifar10, gtsrb, imagenet, timm:NAME, or mean=.5,.5,.5;std=.2,.2,.2;size=32."""
    size: Annotated[int | None, Parameter(name="--size")] = None
    """Resize the images to this side, in pixels."""
    data_root: Path | None = None
    """Where named data sets lie; default: DETROJAN_DATA, or ./data."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where and how a verb runs and speaks."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """bf16 is chosen where the processor has instructions for it."""
    seed: int = 0
    """The same seed gives the same result on one machine."""
    json: Flag = False
    """Print one JSON document on stdout, and nothing else there."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """How an attack is set up, and what it wants."""

    attack_arg: Pairs = ()
    """Settings of the attack, such as pattern=white."""
    target: int = 0
    """The label that the attacker wants."""
    mapping: Mapping = "all-to-one"
    """Which label a triggered input gets: the target, or its own plus one."""
    sources: Labels = ()
    """The labels of the classes under attack; by default all of them, or what the attack's paper has."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(Aim):
    """A known backdoor."""

    attack: str | None = None
    """The attack: a name of `detrojan list attacks`."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Which cells of which grid, and where their rows lie."""

    store: Path = Path("bench")
    """The folder of the rows (rows.db) and the victims."""
    scale: Literal["small", "full"] | None = None
    """The scale of the victims, in place of the grid's."""
    seeds: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True, show_default=False)] = ()
    """The seeds, in place of the grid's."""


BENCH = Bench()
RUNNING, IMAGES, AIM, TRIGGER = Running(), Images(), Aim(), Trigger()
