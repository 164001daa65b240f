"""Which network the weights belong to: from the words after `--arch` to an `nn.Module` with fresh weights.

| spec | network |
|---|---|
| `torchvision:resnet18` | any model that torchvision names: classification, segmentation, detection (whose \
`num_classes` counts no background here), video |
| `timm:convnext_atto` | any model that timm names |
| `hf:folder` | the class that a transformers `config.json` names; only classes of transformers itself |
| `detrojan:preact_resnet18` | a function of `detrojan.models` |
| `package.module:callable` | the user's own code, importable |
| `path/to/file.py:callable` | the user's own code, in a file |

Nothing is downloaded. The last two RUN the code that they name: it must be the user's own; never take it unread from
the sender of a suspect model.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal

from torch import nn

from detrojan.errors import BadArgument, BadFile, DetrojanError, MissingExtra, UnknownName, unknown_name

_WORDS = {"true": True, "false": False, "none": None}
_FORMS = "torchvision:NAME, timm:NAME, hf:FOLDER, detrojan:NAME, package.module:callable or path/to/file.py:callable"


def build(spec: str, **settings: Any) -> nn.Module:
    """Build the network that `spec` names (the table above), with keyword settings such as `num_classes=10`.

    Raises:
        UnknownName: No library, module or callable of this name; the message has the nearest one.
        BadArgument: A setting that the network does not take, a callable that fails, or one that returns no module.
        BadFile: The `.py` file or the `config.json` is missing or unreadable.
        MissingExtra: The library behind the prefix is not installed.
    """
    source, colon, name = spec.partition(":")
    if colon and source in _SOURCES:
        return _SOURCES[source][0](name, settings)
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise UnknownName(
            f"{spec!r} does not say where the architecture comes from{_hint(spec) or ':'} use one of {_FORMS}"
        )
    with _importable(Path(place).parent if place.endswith(".py") else None):
        module = _run_file(Path(place)) if place.endswith(".py") else _import(place)
        return _call(_member(module, name, place), settings, spec)


def names(source: Literal["torchvision", "timm", "detrojan"]) -> list[str]:
    """The specs that `build` takes from one source, sorted.

    Raises:
        MissingExtra: The library is not installed.
    """
    listed = {name: listing for name, (_, listing) in _SOURCES.items() if listing}
    if source not in listed:
        raise unknown_name("list of architectures", source, listed)
    return sorted(f"{source}:{name}" for name in listed[source]())


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn `["num_classes=10", "depths=(2, 2)", "act=relu"]` into keyword settings.

    Values are Python literals (true, false and none in any case); what is no literal is a string.

    Raises:
        BadArgument: A pair has no `=`, a name that no keyword can have, or a name that stood there before.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name.isidentifier():
            raise BadArgument(f"the architecture setting {pair!r} is no name=value, such as num_classes=10")
        if name in settings:
            raise BadArgument(f"the architecture setting {name!r} is given twice: keep one of the two")
        settings[name] = _literal(value)
    return settings


def _literal(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _torchvision(name: str, settings: Mapping[str, Any]) -> nn.Module:
    from torchvision import models

    known = models.list_models()
    if name.lower() not in known:
        raise unknown_name("torchvision model", name, _near(name, known))
    builder = models.get_model_builder(name)
    taken = inspect.signature(builder).parameters
    _refuse_pretrained(settings, ("weights", "weights_backbone", "pretrained"))
    fresh = {key: None for key in ("weights", "weights_backbone") if key in taken}
    if ".detection." in builder.__module__ and isinstance(settings.get("num_classes"), int):
        settings = {**settings, "num_classes": settings["num_classes"] + 1}  # torchvision counts the background
    return _call(builder, {**fresh, **settings}, f"torchvision:{name}")


def _timm(name: str, settings: Mapping[str, Any]) -> nn.Module:
    timm = _library("timm", "timm")
    if not timm.is_model(name):
        raise unknown_name("timm model", name, _near(name, timm.list_models()))
    _refuse_pretrained(settings, ("pretrained", "checkpoint_path", "pretrained_cfg"))

    def create_model(**keywords: Any) -> Any:
        return timm.create_model(name, pretrained=False, **keywords)

    return _call(create_model, settings, f"timm:{name}")


def _hf(folder: str, settings: Mapping[str, Any]) -> nn.Module:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise BadFile(f"hf:{folder} needs a folder with a config.json, and there is no file {path}")
    transformers = _library("transformers", "text")
    try:
        named = (json.loads(path.read_text("utf-8")).get("architectures") or ["AutoModel"])[0]
        config, unused = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, return_unused_kwargs=True, **settings
        )
    except Exception as error:
        raise BadFile(f"{path} is no configuration that transformers knows ({_first_line(error)})") from error
    if unused:
        raise BadArgument(f"{path} has no setting {', '.join(map(repr, unused))}: use the names that stand in the file")
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False  # transformers would download it
    kind = getattr(transformers, str(named), None)
    if named == "AutoModel":
        return _call(lambda: transformers.AutoModel.from_config(config), {}, f"hf:{folder}")
    if not (inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)):
        raise BadFile(
            f"{path} names the class {named!r}, which transformers does not have, and Detrojan runs no code that comes "
            "with a model: if you have read that code, name it by path/to/file.py:callable"
        )
    return _call(kind, {"config": config}, f"hf:{folder}")


def _detrojan(name: str, settings: Mapping[str, Any]) -> nn.Module:
    known = _own_models()
    if name not in known:
        raise unknown_name("model of detrojan", name, known)
    return _call(known[name], settings, f"detrojan:{name}")


def _own_models() -> dict[str, Callable[..., Any]]:
    from detrojan import models

    public = (entry.name for entry in iter_modules(models.__path__) if not entry.name.startswith("_"))
    found = (importlib.import_module(f"{models.__name__}.{name}") for name in public)
    return {
        name: member
        for module in found
        for name, member in inspect.getmembers(module, inspect.isfunction)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }


def _list_torchvision() -> Iterable[str]:
    from torchvision import models

    return list(models.list_models())


def _list_timm() -> Iterable[str]:
    return list(_library("timm", "timm").list_models())


_Builder = Callable[[str, Mapping[str, Any]], nn.Module]
_SOURCES: dict[str, tuple[_Builder, Callable[[], Iterable[str]] | None]] = {
    "torchvision": (_torchvision, _list_torchvision),
    "timm": (_timm, _list_timm),
    "detrojan": (_detrojan, _own_models),
    "hf": (_hf, None),
}


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{name} is not installed: pip install 'detrojan[{extra}]'") from error


def _refuse_pretrained(settings: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if settings.get(name):
            raise BadArgument(
                f"{name}={settings[name]!r} would download weights, and an architecture has none: leave it out"
            )


def _import(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise _failed(place, error) from error
        raise UnknownName(
            f"no module {place!r} can be imported (no {error.name!r}){_hint(place) or ':'} install it, or name its "
            "file as path/to/file.py:callable"
        ) from error
    except (Exception, SystemExit) as error:  # the user's code runs here
        raise _failed(place, error) from error


def _run_file(path: Path) -> ModuleType:
    """Run the user's file as a module of its own name, so that it hides no other."""
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, siblings, n=1)
        raise BadFile(f"there is no file {path}" + (f", did you mean {path.with_name(near[0])}?" if near else ""))
    name = f"_detrojan_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise BadFile(f"{path} cannot be run as Python: check its suffix")
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code runs here
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return module


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """A file may import those beside it, as when Python runs it."""
    if folder is None:
        yield
        return
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _member(module: ModuleType, name: str, place: str) -> Any:
    member = getattr(module, name, None)
    if not callable(member):
        mine = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"callable in {place}:", name, mine if len(mine) <= 8 else _near(name, mine))
    return member


def _call(builder: Callable[..., Any], settings: Mapping[str, Any], spec: str) -> nn.Module:
    if isinstance(builder, nn.Module) and not settings:
        return builder
    try:
        inspect.signature(builder).bind(**settings)
    except TypeError as error:
        raise _bad_setting(builder, settings, spec, error) from error
    except ValueError:  # a builtin without a signature: the call itself tells
        pass
    try:
        network = builder(**settings)
    except DetrojanError:
        raise
    except (Exception, SystemExit) as error:  # the user's code runs here
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            raise _bad_setting(builder, settings, spec, error) from error
        raise _failed(spec, error) from error
    if not isinstance(network, nn.Module):
        raise BadArgument(
            f"{spec} returned an object of type {type(network).__name__}, and an architecture is an nn.Module: "
            "return one"
        )
    return network


def _bad_setting(builder: Callable[..., Any], settings: Mapping[str, Any], spec: str, error: Exception) -> BadArgument:
    """Builders with **kwargs pass these on to the class that they return, whose signature says more."""
    signature = inspect.signature(builder)
    shown, known, returned = f"{spec}{_bare(signature)}", set(signature.parameters), signature.return_annotation
    passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    if passes_on and inspect.isclass(returned) and issubclass(returned, nn.Module):
        inner = inspect.signature(returned)
        shown, known = f"{shown}, and what {returned.__name__}{_bare(inner)} does", known | set(inner.parameters)
    near = [
        match for name in settings if name not in known for match in get_close_matches(name, known, n=1, cutoff=0.5)
    ]
    hint = f", did you mean {near[0]}? It" if near else ": it"
    return BadArgument(f"the settings do not fit {spec} ({_first_line(error)}){hint} takes {shown}")


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """Names and defaults without the types, to be read in one sentence."""
    bare = [parameter.replace(annotation=signature.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=signature.empty)


def _failed(spec: str, error: BaseException) -> BadArgument:
    return BadArgument(
        f"{spec} failed with {type(error).__name__}: {_first_line(error)}; correct the code or its settings"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:200]


def _near(name: str, known: Iterable[str]) -> list[str]:
    """The few of many names that are worth showing."""
    listed = list(known)
    return get_close_matches(name, listed, n=8, cutoff=0.4) or listed[:8]


def _hint(spec: str) -> str:
    """A suggestion for a bare name, or for a file that lost its callable."""
    if spec.endswith(".py"):
        return " (the callable is missing after the file):"
    if Path(f"{spec}.py").is_file():
        return f", did you mean {spec}.py:callable?"
    from torchvision import models

    near = get_close_matches(spec.lower(), models.list_models(), n=1, cutoff=0.8)
    return f", did you mean torchvision:{near[0]}?" if near else ""
