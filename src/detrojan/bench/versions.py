"""The version of a method's code, as part of a cell's key: a changed method is a new cell.

Comments and docstrings do not count. What every method shares (the step loop, the training loop) counts by the
package's release, so that a sweep of hours does not start anew for a better error message.
"""

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detrojan import __version__

UNCHANGED: Mapping[str, str] = {
    "4d5f1ec06eae": "1d7396c454a4",  # nft: MixUp is the task's; floors and augmented loss are files of their own
    "8187d35efa34": "f891589cab60",  # shrink_distil: MixUp and answers are the task's; parts are files
    "e56cdd22bcb2": "98fce8991ba7",  # ft_sam: the smoothed loss is the task's
    "104b04daf0a9": "da75cea97725",  # badnets: says that clips take it, too
    "71f71fa36597": "943c51080a5d",  # bti_dbf: refuses what is no image
    "8424733bde90": "c73107f31037",  # clp: leaves out norms without weights
    "65e4c4d102c0": "7d6758ab2b1d",  # fip, and next I-BAU: weights that play no part have gradients of zero
    "04918d4aa124": "8242fe786c87",
    "54844121e4e8": "ad7e16a708e3",  # mcr: networks of several inputs; its curve is a `Replaced` network
    "25385cfdd380": "4c736304a3df",  # neural_cleanse: refuses what is no image
    "d244d29e5a23": "3e918e6a874b",  # npd: leaves out computed weights
    "4225c98101fb": "77f2212994df",  # awm: its inner rate is a setting
    "6f5cd6911e46": "85a794ff8a59",  # unit: refuses sentences
}
"""Versions whose code was rewritten, with the earlier one whose figures they give; rows of that one stay valid.

An entry needs proof: before and after, purified networks (or stamped images) that are equal in every bit.
"""


def code_version(method: Any) -> str:
    """Twelve hexadecimal digits for the module of a configured method and the private siblings that it imports.

    A method that runs others names them in `rests_on`; theirs count, too.
    """
    own = _version(type(method).__module__)
    others = [code_version(other) for other in getattr(method, "rests_on", ())]
    return hashlib.sha256("".join([own, *others]).encode()).hexdigest()[:12] if others else own


@cache
def _version(module: str) -> str:
    digest = hashlib.sha256(__version__.encode())
    for name in sorted(_with_helpers(module, set())):
        digest.update(_code(name).encode())
    found = digest.hexdigest()[:12]
    return UNCHANGED.get(found, found)


def _with_helpers(module: str, found: set[str]) -> set[str]:
    found.add(module)
    package = module.rpartition(".")[0]
    for node in ast.walk(_tree(module)):
        name = node.module if isinstance(node, ast.ImportFrom) else None
        if name and name.startswith(f"{package}._") and name not in found:
            _with_helpers(name, found)
    return found


def _code(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return _written(tree)


def _written(node: object) -> str:
    """A syntax tree as `ast.dump` of Python 3.11 writes it, so that later Pythons come to the same version."""
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    found = {name: getattr(node, name, None) for name in node._fields}
    optional = {name for name, value in found.items() if value is None and getattr(type(node), name, ...) is None}
    absent = optional | ({"type_params"} if not found.get("type_params") else set())  # of Python 3.12
    told = ", ".join(f"{name}={_written(value)}" for name, value in found.items() if name not in absent)
    return f"{type(node).__name__}({told})"


def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ast.Module(body=[], type_ignores=[])  # typed in at a prompt: the class has no file
    return ast.parse(Path(spec.origin).read_text())
