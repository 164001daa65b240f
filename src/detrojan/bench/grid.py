"""From a TOML file to cells: the product of its attacks, defenses, clean sets and seeds.

A list among the victim's fields is one more axis.
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from detrojan.attacks import ATTACKS
from detrojan.bench.cells import Cell, Clean, VictimSpec
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadFile, UnknownName, unknown_name
from detrojan.settings import check

GRIDS = files("detrojan.bench") / "grids"
NONE = "none"

Named = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a grid file holds.

    Attributes:
        title: what the tables are called.
        paper: the table of `paper_tables.csv` that is set beside ours, as `TABLE` or `TABLE/DATASET`; empty for none.
        seeds: each makes its own victims, draws its own clean samples and seeds the defense.
        victim: fields of `VictimSpec`; a list makes an axis of a field that is not one itself, and the tables then show
            its value beside the attack's name.
        attacks: by the name that the tables show, a name of the registry (`none`: benign) or a table with `attack`,
            fields of `VictimSpec` that differ, and `settings`.
        defenses: likewise, with `defense` and `settings`, and `clean` where its clean sets are not those of the grid.
        clean: `count` or `per_class`, and `kind`, each one value or a list.
        hard: whether the rows tell, too, how easily the backdoor comes back.
        charted: whether the rows hold maps of the features, too.
        oracle: whether the rows tell, too, what thresholds chosen by a look at the attack would have given.
        around: by the name of a defense above, settings with other values: each value makes a neighbour of that
            defense, in which this one setting is changed.
    """

    title: str
    paper: str = ""
    seeds: Sequence[int] = (0,)
    victim: Mapping[str, Any] = field(default_factory=dict)
    attacks: Mapping[str, Named]
    defenses: Mapping[str, Named]
    clean: Mapping[str, Any] = field(default_factory=lambda: {"count": 500})
    hard: bool = False
    charted: bool = False
    oracle: bool = False
    around: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The cells of a bench; each knows the names under which the tables show its attack and its defense."""

    name: str
    title: str
    paper: str
    cells: tuple[Cell, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all its rows, those of the victims with them."""
        return frozenset(key for cell in self.cells for key in (cell.key, cell.victim.key))


def named(name: str) -> Path:
    """The file of a grid that comes with the package, or a file of the user's.

    Raises:
        UnknownName: there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UnknownName(f"{path} is not there; name a grid file or one of `detrojan list grids`")
        return path
    if name not in shipped():
        raise unknown_name("grid", name, shipped())
    return Path(str(GRIDS / f"{name}.toml"))


def shipped() -> tuple[str, ...]:
    """The grids that come with the package."""
    return tuple(sorted(Path(str(entry)).stem for entry in GRIDS.iterdir() if str(entry).endswith(".toml")))


def read(path: Path, *, scale: str | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read a grid file; `scale` and `seeds` win over the file's.

    Raises:
        BadFile: it is no TOML, or a key or value has no place in a grid; the sentence names it.
        UnknownName, BadArgument: an attack, a defense or a setting does not exist.
    """
    try:
        sheet = TypeAdapter(Sheet).validate_python(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        raise BadFile(f"{path}: {_sentence(error)}") from error
    changes = {} if scale is None else {"scale": scale}
    try:
        cells = tuple(_cells(sheet, changes, sheet.seeds if seeds is None else seeds))
    except ValidationError as error:
        raise BadFile(f"{path}: {_sentence(error)}") from error
    return Grid(name=path.stem, title=sheet.title, paper=sheet.paper, cells=cells)


def _cells(sheet: Sheet, changes: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[Cell]:
    defenses = [(label, *_split(entry, "defense")) for label, entry in sheet.defenses.items()]
    defenses += list(_neighbours(sheet))
    for label, defense, chosen, _ in defenses:
        check(DEFENSES[defense], chosen, where=f"defense {label!r}")
    for label, entry in sheet.attacks.items():
        attack, chosen, _ = _split(entry, "attack")
        if attack != NONE:
            check(ATTACKS[attack], chosen, where=f"attack {label!r}")
    for seed, (shown, entry) in itertools.product(seeds, sheet.attacks.items()):
        attack, settings, differing = _split(entry, "attack")
        base = {**sheet.victim, **differing, **changes, "attack": None if attack == NONE else attack}
        for values in _product(base):
            name = ", ".join([shown, *_varied(base, values)])
            victim = _checked(VictimSpec, {**values, "attack_settings": settings, "shown": name, "seed": seed})
            if victim.task != "image" and (sheet.hard or sheet.charted or sheet.oracle):
                raise BadArgument(f"hard, charted and oracle look at images; leave them out for task {victim.task!r}")
            for label, defense, chosen, more in defenses:
                values = {"victim": victim, "defense": defense, "settings": chosen, "shown": label, "seed": seed}
                asked = {"hard": sheet.hard, "charted": sheet.charted and not more.get("around")}
                asked["oracle"] = sheet.oracle and "threshold" in {f.name for f in fields(DEFENSES[defense])}
                for clean in _product(more.get("clean", sheet.clean)):
                    yield _checked(Cell, {**values, **asked, **more, "clean": _checked(Clean, clean)})


def _neighbours(sheet: Sheet) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """The defenses that differ from one of the grid in a single setting."""
    for label, changes in sheet.around.items():
        if label not in sheet.defenses:
            raise unknown_name("defense of this grid", label, sheet.defenses)
        defense, chosen, more = _split(sheet.defenses[label], "defense")
        for setting, values in changes.items():
            for value in values:
                shown = f"{label}, {setting}={value}"
                yield shown, defense, {**chosen, setting: value}, {**more, "around": label}


def _varied(base: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """What tells the victims of one attack apart; poison rates are shown by the tables."""
    axes = [key for key in base if key != "poison_rate" and len(_axis(key, base[key])) > 1]
    return [str(values[key]).removeprefix("detrojan:") for key in axes]


def _split(entry: Named, what: str) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """The name, the settings, and the other fields of an entry."""
    if isinstance(entry, str):
        return entry, {}, {}
    rest = {key: value for key, value in entry.items() if key not in (what, "settings")}
    return str(entry.get(what, "")), entry.get("settings", {}), rest


def _product(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every choice of one value for each list."""
    for chosen in itertools.product(*(_axis(key, value) for key, value in values.items())):
        yield dict(zip(values, chosen, strict=True))


def _axis(key: str, value: Any) -> list[Any]:
    return value if isinstance(value, list) and key != "sources" else [value]


def _checked(what: type, values: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(what)}
    for key in values:
        if key not in known:
            raise unknown_name(f"field of a {what.__name__}", key, known)
    return TypeAdapter(what).validate_python(dict(values))


def _sentence(error: ValidationError) -> str:
    told = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {str(e['input'])[:80]!r}" for e in error.errors()]
    return "; ".join(told)
