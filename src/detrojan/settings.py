"""Settings given as text, `key=value`, made into a configured method; a wrong key, type or value is one sentence."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from detrojan.errors import BadArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a method: its name, its type as a reader writes it, and its default (`MISSING`: required)."""

    name: str
    type: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether the method cannot be built without it."""
        return self.default is MISSING


def settings_of(method: type) -> tuple[Setting, ...]:
    """The settings of a method's dataclass, in the order in which it declares them."""
    hints = get_type_hints(method)
    return tuple(
        Setting(name=f.name, type=_spelled(hints[f.name]), default=_default(f)) for f in fields(method) if f.init
    )


def configured(method: type, pairs: Iterable[str], *, flag: str) -> Any:
    """Build a method from `key=value` texts; what is not given keeps its default.

    Args:
        method: a dataclass of settings.
        pairs: the texts; of a key given twice, the last one counts.
        flag: the option that they came by, for the messages.

    Raises:
        BadArgument: a text without `=`, a key that the method does not have, or a value of the wrong type; all such
            problems are in one message. The method's own checks raise it, too.
    """
    return built(method, parse_pairs(pairs, flag=flag), where=flag)


def built(method: type, values: Mapping[str, Any], *, where: str) -> Any:
    """Build a method from settings of which each is a value, or a text that names one; others keep their default.

    Args:
        method: a dataclass of settings.
        values: the settings by name.
        where: what the message names as their place.

    Raises:
        BadArgument: as `configured`.
    """
    hints = {f.name: get_type_hints(method)[f.name] for f in fields(method) if f.init}
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in values.items():
        if key not in hints:
            problems.append(_unknown(key, hints))
            continue
        try:
            found[key] = _validated(hints[key], value)
        except ValidationError:
            problems.append(f"{key} must be {_spelled(hints[key])}, got {value!r}")
    if problems:
        raise BadArgument(f"{where}: {'; '.join(problems)}")
    return method(**found)


def check(method: type, values: Mapping[str, Any], *, where: str) -> None:
    """Refuse settings that a method cannot be built with; `where` is what the message names as their place.

    Raises:
        BadArgument: a key that the method does not have, a value of the wrong type, or one that its own checks refuse.
    """
    hints = {f.name: get_type_hints(method)[f.name] for f in fields(method) if f.init}
    problems = [_unknown(key, hints) for key in values if key not in hints]
    for key in hints.keys() & values.keys():
        try:
            TypeAdapter(hints[key]).validate_python(values[key])
        except ValidationError:
            problems.append(f"{key} must be {_spelled(hints[key])}, got {values[key]!r}")
    if problems:
        raise BadArgument(f"{where}: {'; '.join(problems)}")
    method(**values)


def parse_pairs(pairs: Iterable[str], *, flag: str) -> dict[str, str]:
    """Split `key=value` texts at the first `=`.

    Raises:
        BadArgument: a text has no `=`, or nothing before it.
    """
    split = [(pair, *pair.partition("=")) for pair in pairs]
    if bad := [pair for pair, key, equals, _ in split if not equals or not key.strip()]:
        raise BadArgument(f"{flag}: {', '.join(map(repr, bad))} is not of the form key=value, such as {flag} steps=300")
    return {key.strip().replace("-", "_"): value.strip() for _, key, _, value in split}


def _validated(hint: Any, value: Any) -> Any:
    """The value, or what a text names, as the type; lists and the like are read as JSON, `none` as None."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        if not isinstance(value, str):
            raise
        return adapter.validate_python(_as_json(value))


def _as_json(text: str) -> Any:
    try:
        return None if text.lower() == "none" else json.loads(text)
    except ValueError:
        return text


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no setting {key!r}, {hint}Known: {', '.join(known) or '(none)'}"


def _spelled(hint: Any) -> str:
    """A type as a reader writes it: `int`, `checker | white`, `tuple[int, ...]`."""
    choices = getattr(hint, "__args__", None)
    if str(hint).startswith("typing.Literal"):
        return " | ".join(str(choice) for choice in choices or ())
    return hint.__name__ if isinstance(hint, type) and choices is None else str(hint).replace("typing.", "")


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
