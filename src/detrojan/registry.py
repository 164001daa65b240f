"""A registry is a package: the file name is the method's name, imported when first asked for.

Third parties add methods by an entry point in the group `detrojan.<package>`, or as a file in the folder of added
methods (`detrojan bench add-method`).
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from detrojan.errors import BadArgument, unknown_name

ADDED = "[a-z]*.py"
"""What the file of an added method is called; all others in its folder are none."""


class Registry(Mapping[str, Any]):
    """Maps a method's name to its class.

    The class is the one that the module names in `METHOD`. A broken module does not hurt its siblings: it raises
    when it is asked for, not before.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package

    def __getitem__(self, name: str) -> Any:
        modules = self._modules()
        if name not in modules:
            raise unknown_name(self.kind, name, modules)
        where = modules[name]
        module = from_file(Path(where), package=self.package) if where.endswith(".py") else import_module(where)
        return module.METHOD

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules()))

    def __len__(self) -> int:
        return len(self._modules())

    def __contains__(self, name: object) -> bool:
        return name in self._modules()

    def build(self, method: Any, **settings: Any) -> Any:
        """Turn a name and its settings into a configured method; a configured method passes through unchanged."""
        return self[method](**settings) if isinstance(method, str) else method

    def name_of(self, method: Any) -> str:
        """The name under which a configured method is registered; its module's own name where it is not."""
        module = type(method).__module__
        names = {ours: name for name, ours in self._modules().items()}
        return names.get(module, module.rpartition(".")[2].rpartition("_added_")[2])

    def _modules(self) -> dict[str, str]:
        path = import_module(self.package).__path__
        ours = {m.name: f"{self.package}.{m.name}" for m in iter_modules(path) if not m.name.startswith("_")}
        theirs = _installed(self.package)
        added = {path.stem: str(path) for path in _added(self.package)}
        return {**theirs, **added, **ours}


@cache
def _installed(package: str) -> Mapping[str, str]:
    """The methods of installed packages, by name; read once, since that takes milliseconds."""
    return {entry.name: entry.value for entry in entry_points(group=package)}


def added_methods(package: str) -> Path:
    """Where the files of added methods of a registry lie: below DETROJAN_METHODS, or `.detrojan/methods` at home.

    Raises:
        BadArgument: there is neither.
    """
    root = os.environ.get("DETROJAN_METHODS")
    try:
        folder = Path(root) if root else Path.home() / ".detrojan" / "methods"
    except RuntimeError as error:
        raise BadArgument("no home folder is known; name a folder for added methods in DETROJAN_METHODS") from error
    return folder / package.removeprefix("detrojan.")


def _added(package: str) -> Iterable[Path]:
    try:
        return added_methods(package).glob(ADDED)
    except BadArgument:
        return ()


def from_file(path: Path, *, package: str) -> ModuleType:
    """Run a Python file as a module of its own, once."""
    name = f"{package.replace('.', '_')}_added_{path.stem}"
    found = sys.modules.get(name)
    if found is not None and found.__file__ == str(path):
        return found
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
