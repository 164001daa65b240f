"""`detrojan list`: the names that other verbs take, each in one line, and the settings of a method."""

import inspect
import re
from typing import TYPE_CHECKING, Any, Literal

from detrojan.cli.console import Screen
from detrojan.cli.options import Flag
from detrojan.errors import BadArgument, MissingExtra

if TYPE_CHECKING:
    from detrojan.settings import Setting

Kind = Literal["attacks", "defenses", "tasks", "datasets", "engines", "grids", "architectures"]
Kinds = Literal["all", "attacks", "defenses", "tasks", "datasets", "engines", "grids", "architectures"]
KINDS: tuple[Kind, ...] = ("attacks", "defenses", "tasks", "datasets", "engines", "grids", "architectures")
TITLES: dict[Kind, str] = {
    "attacks": "Attacks",
    "defenses": "Defenses",
    "tasks": "Tasks",
    "datasets": "Data sets",
    "engines": "Engines of the bench",
    "grids": "Grids of the bench",
    "architectures": "Architectures",
}
GIVEN_BY: dict[Kind, str] = {"attacks": "--attack-arg", "defenses": "--set", "engines": "--engine-arg"}
"""The option by which a verb takes the settings of such a method."""
FORMS = {
    "torchvision:NAME": "any model of torchvision, such as torchvision:resnet18",
    "timm:NAME": "any model of timm (pip install 'detrojan[timm]')",
    "hf:FOLDER": "the class that a transformers config.json names (pip install 'detrojan[text]')",
    "package.module:callable": "your own code, importable; it is run",
    "path/to/file.py:callable": "your own code, in a file; it is run",
}


def run(
    kind: Kinds = "all",
    name: str | None = None,
    /,
    *,
    settings: Flag = False,
    json: Flag = False,
) -> int:
    """List what other verbs take by name: attacks, defenses, data sets and so on, each in one line.

    Args:
        kind: What to list.
        name: One of them, with all that it says of itself; for architectures, a part of the name.
        settings: Show the settings with their defaults, too.
        json: Print one JSON document on stdout, and nothing else there.
    """
    screen = Screen(as_json=json)
    if kind == "all" and name is not None:
        raise BadArgument(
            f"{name!r} of which kind? Write detrojan list defenses {name}, or another of {', '.join(KINDS)}"
        )
    document: dict[str, Any] = {"verb": "list"}
    for each in KINDS if kind == "all" else (kind,):
        if each == "grids":
            document[each] = _grids(screen)
        elif each == "architectures":
            document[each] = _architectures(screen, name)
        elif name is not None:
            document[each] = _one(screen, each, name)
        else:
            document[each] = _many(screen, each, settings=settings)
    screen.finish({**document, "exit_code": 0})
    return 0


def _registry(kind: Kind) -> Any:
    from detrojan.attacks import ATTACKS
    from detrojan.bench.engines import ENGINES
    from detrojan.data.sets import DATASETS
    from detrojan.defenses import DEFENSES
    from detrojan.tasks import TASKS

    registries = {"attacks": ATTACKS, "defenses": DEFENSES, "tasks": TASKS, "datasets": DATASETS, "engines": ENGINES}
    return registries[kind]


def _many(screen: Screen, kind: Kind, *, settings: bool) -> dict[str, Any]:
    """A line for each method; one that cannot be imported says why and does not hide the others."""
    registry = _registry(kind)
    document: dict[str, Any] = {}
    for name in registry:
        try:
            document[name] = _described(registry[name])
        except Exception as error:  # a third party's module may raise anything
            document[name] = {"summary": f"cannot be imported ({type(error).__name__}: {error})", "settings": {}}
    told = ("needs", "serves") if kind == "defenses" else ()
    rows = [
        (
            name,
            found["summary"],
            *(found.get(fact, "").rstrip(".") for fact in told),
            *([_settings_line(found["settings"])] if settings else []),
        )
        for name, found in document.items()
    ]
    columns = ("name", "what it is", *told, *(["settings"] if settings else []))
    screen.table(TITLES[kind], columns, rows, text=3 + len(told))
    return document


def _one(screen: Screen, kind: Kind, name: str) -> dict[str, Any]:
    """All that a method says of itself, and its settings."""
    from detrojan.settings import settings_of

    method = _registry(kind)[name]
    screen.say(name, style="bold")
    screen.say(inspect.cleandoc(inspect.getmodule(method).__doc__ or ""))  # type: ignore[union-attr]
    screen.say("")
    screen.say(inspect.cleandoc(method.__doc__ or ""))
    found = settings_of(method)
    if found:
        rows = [(each.name, each.type, _default(each)) for each in found]
        how = f", given by {GIVEN_BY[kind]} name=value" if kind in GIVEN_BY else ""
        screen.table(f"Settings{how}", ("name", "type", "default"), rows, text=3)
    return {name: _described(method)}


def _grids(screen: Screen) -> dict[str, str]:
    from detrojan.bench import grid

    titles = {name: grid.read(grid.named(name)).title for name in grid.shipped()}
    screen.table(TITLES["grids"], ("name", "what it is"), list(titles.items()), text=2)
    return titles


def _architectures(screen: Screen, part: str | None) -> list[str]:
    """What `--arch` takes: the forms, or the names with a part in them."""
    from detrojan import architectures

    if part is None:
        rows = list(FORMS.items())
        rows[2:2] = [(name, "comes with Detrojan") for name in architectures.names("detrojan")]
        screen.table(TITLES["architectures"], ("--arch", "what it is"), rows, text=2)
        return [form for form, _ in rows]
    names = [name for source in ("torchvision", "timm", "detrojan") for name in _names(source) if part in name]
    for name in names:
        screen.say(name)
    if not names:
        raise BadArgument(f"no architecture of torchvision, timm or Detrojan has {part!r} in its name")
    return names


def _names(source: Literal["torchvision", "timm", "detrojan"]) -> list[str]:
    from detrojan import architectures

    try:
        return architectures.names(source)
    except MissingExtra:
        return []


def _described(method: type) -> dict[str, Any]:
    from detrojan.settings import settings_of

    found = settings_of(method)
    settings = {each.name: _default(each) for each in found}
    return {"summary": _summary(method), **_facts(method), "settings": settings}


def _summary(method: type) -> str:
    """The first sentence of the module, which says what the method is; else of the class."""
    module = inspect.getmodule(method)
    text = inspect.cleandoc((module and module.__doc__) or method.__doc__ or "")
    return re.split(r"(?<=[.])\s", text, maxsplit=1)[0].replace("\n", " ")


def _facts(method: type) -> dict[str, str]:
    """What the module says under `Needs:`, `Serves:` and `Source:`, where it does."""
    text = inspect.cleandoc((inspect.getmodule(method) and inspect.getmodule(method).__doc__) or "")  # type: ignore[union-attr]
    found = re.findall(r"^(Needs|Serves|Source): (.*?)$(?=\n[A-Z]\w+: |\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {name.lower(): " ".join(told.split()) for name, told in found}


def _settings_line(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _default(setting: "Setting") -> Any:
    return "(required)" if setting.required else setting.default
