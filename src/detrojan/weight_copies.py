"""Where a container of weights holds the network more than once, and the container with other tensors in it.

A copy has the names of the network, behind any prefix, and its shapes; it may lack some, as an average of parameters
lacks the statistics. What has the shapes alone (an optimizer's averages, a list of weights) could be one, too.
"""

import copy
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detrojan.weight_fit import prefixes

FAIR = 0.5
"""The share of a network's numbers from which on other tensors are taken for it."""

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A mapping that holds a network again: where it lies, and which of its names are which of the state dict's."""

    place: Place
    holder: Mapping[Any, Any]
    names: Mapping[str, str]


def copies(document: Any, primary: Any, state: Mapping[str, Tensor]) -> list[Copy]:
    """The copies of a network in a container, beside `primary`, which holds its `state`; not in an optimizer's."""
    found, prefix = [], prefixes(state)[-1]
    own = {name.removeprefix(prefix): name for name in state}
    for place, holder in _holders(document):
        optimizer = any(name.startswith("optim") for name in place)
        if isinstance(holder, Mapping) and holder is not primary and not optimizer:
            names = _named_alike(holder, own, state)
            found += [Copy(place=place, holder=holder, names=names)] if names else []
    return found


def lookalikes(document: Any, primary: Any, state: Mapping[str, Tensor]) -> tuple[Place, ...]:
    """The entries of a container that hold tensors of the shapes of a network, and are neither it nor copies of it."""
    known = {id(primary): set(state)}
    known |= {id(found.holder): set(found.names) for found in copies(document, primary, state)}
    shapes = dict[Place, Counter[torch.Size]]()
    for place, holder in _holders(document):
        rest = (value for name, value in _inside(holder) if name not in known.get(id(holder), ()))
        entry = shapes.setdefault(place[:1], Counter())
        entry.update(value.shape for value in rest if isinstance(value, Tensor) and value.ndim)
    own = Counter(tensor.shape for tensor in state.values() if tensor.ndim)
    return tuple(place for place, found in shapes.items() if _numbers(own & found) >= FAIR * _numbers(own))


def rebuilt(document: Any, fresh: Mapping[int, Mapping[str, Tensor]]) -> Any:
    """A copy of a container whose mappings of these identities have other tensors; all other tensors are shared."""
    return _rebuilt(document, fresh, {})


def _rebuilt(item: Any, fresh: Mapping[int, Mapping[str, Tensor]], done: dict[int, Any]) -> Any:
    if id(item) in done or not isinstance(item, Mapping | list | tuple):
        return done.get(id(item), item)
    if isinstance(item, tuple):  # cannot be changed, so it is made anew where its parts were
        parts = [_rebuilt(part, fresh, done) for part in item]
        return item if all(map(_is, parts, item)) else tuple(parts)
    made: Any = copy.copy(item)
    done[id(item)] = made  # before its parts, one of which may hold it
    for name, part in _inside(item):
        made[name] = fresh[id(item)][name] if name in fresh.get(id(item), ()) else _rebuilt(part, fresh, done)
    return made


def _is(one: object, other: object) -> bool:
    return one is other


def _holders(document: Any) -> Iterator[tuple[Place, Any]]:
    """All mappings and sequences of a container, at any depth, each once, with where it lies."""
    waiting, seen = deque[tuple[Place, Any]]([((), document)]), set[int]()
    while waiting:
        place, item = waiting.popleft()
        if isinstance(item, Mapping | list | tuple | set) and id(item) not in seen:
            seen.add(id(item))
            yield place, item
            waiting.extend(((*place, str(name)), part) for name, part in _inside(item))


def _inside(holder: Any) -> Iterator[tuple[Any, Any]]:
    yield from holder.items() if isinstance(holder, Mapping) else enumerate(holder)


def _named_alike(holder: Mapping[Any, Any], own: Mapping[str, str], state: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of tensors that end in one of the network, with that, of each prefix that has a fair part of it."""
    groups = dict[str, dict[str, str]]()
    for name, tensor in _inside(holder):
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            continue
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            key = own.get(name[start:])
            if key is not None and _alike(tensor, state[key]):
                groups.setdefault(name[:start], {})[name] = key
    fair = FAIR * sum(tensor.numel() for tensor in state.values())
    large = (group for group in groups.values() if sum(state[key].numel() for key in group.values()) >= fair)
    return {name: key for group in large for name, key in group.items()}


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _numbers(shapes: Counter[torch.Size]) -> int:
    return sum(shape.numel() * count for shape, count in shapes.items())
