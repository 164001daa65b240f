"""What a sweep is made of: a victim, its defender's clean samples, a defense; each with the key of all it rests on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from detrojan.attacks import ATTACKS
from detrojan.bench.versions import code_version
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument
from detrojan.scales import Scale

CleanKind = Literal["in-distribution", "shifted", "corrupted", "mislabelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VictimSpec:
    """A network to train under attack; `attack` None is a benign one.

    `kept` samples of the training set are the defender's (`detrojan.data.samples.dealt`; with `in_turns` False simply
    the first ones). `start` is the name of a weights file that the training starts from, below `weights` in the folder
    of the data sets; the name stands for its content. `recipe` changes single settings of the scale's recipe.
    `architecture_settings` win over the scale's width. `shown` is the name that the tables show, and no part of the
    key. The other fields are those of `detrojan.train`.
    """

    task: str = "image"
    data: str = "cifar10"
    architecture: str = "detrojan:preact_resnet18"
    architecture_settings: Mapping[str, Any] = field(default_factory=dict)
    attack: str | None = "badnets"
    attack_settings: Mapping[str, Any] = field(default_factory=dict)
    mapping: Literal["all-to-one", "all-to-all"] = "all-to-one"
    target: int = 0
    sources: tuple[int, ...] = ()
    poison_rate: float | None = None
    scale: str = "small"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    kept: int = 5000
    in_turns: bool = True
    preprocessing: str | None = None
    start: str = ""
    shown: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        Scale.named(self.scale)
        if self.kept < 1:
            raise BadArgument(f"kept must be at least 1, since the defender's samples come from there; got {self.kept}")

    def method(self) -> Any:
        """The configured attack; None for a benign network."""
        return None if self.attack is None else ATTACKS.build(self.attack, **self.attack_settings)

    @property
    def key(self) -> str:
        """What tells this victim from all others: its settings, its scale's, and the code of its attack."""
        method, spec = self.method(), {k: v for k, v in asdict(self).items() if k != "shown"}
        if not self.start:  # a field of later date: victims without it keep their keys
            del spec["start"]
        scale = asdict(Scale.named(self.scale))
        if not scale["recipe"]["adam"]:  # likewise
            del scale["recipe"]["adam"]
        return _key("victim", spec, scale, None if method is None else code_version(method))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """The defender's samples: `count` in all or `per_class` of each class, of some kind."""

    kind: CleanKind = "in-distribution"
    count: int | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        if (self.count is None) == (self.per_class is None):
            raise BadArgument(f"clean samples need either count or per_class, got {self.count} and {self.per_class}")

    def __str__(self) -> str:
        size = f"{self.count}" if self.count is not None else f"{self.per_class} a class"
        return size if self.kind == "in-distribution" else f"{size}, {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A victim, a defense with its settings, the samples that it gets, and the seed of both; a row of the table.

    `hard` asks, too, whether the backdoor can be woken again (`detrojan.evaluation.hardness`), `charted` for a map of
    features before and after (`detrojan.evaluation.features`).

    `oracle` asks what a threshold chosen by the attack's success would have given, of a defense that has one
    (`detrojan.evaluation.oracle`); the defense itself knows nothing of it.

    `shown` is the name that the tables show for the defense with these settings; `around` that of the defense whose
    neighbour this is (`detrojan.bench.sensitivity`). Both are no part of the key.
    """

    victim: VictimSpec
    defense: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: str = ""
    clean: Clean = field(default_factory=lambda: Clean(count=500))
    hard: bool = False
    charted: bool = False
    oracle: bool = False
    around: str = ""
    seed: int = 0

    def method(self) -> Any:
        """The configured defense."""
        return DEFENSES.build(self.defense, **self.settings)

    @property
    def key(self) -> str:
        """What tells this cell from all others: its victim, its settings, and the code of its defense."""
        spec = {k: v for k, v in asdict(self).items() if k not in ("victim", "shown", "around")}
        if not self.oracle:  # a field of later date: cells without it keep their keys
            del spec["oracle"]
        return _key("cell", spec, self.victim.key, code_version(self.method()))


def _key(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
