"""The house: data flows one way, and no defense can reach a trigger or a test set. Imports are read, not run."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "detrojan"
ROOMS = [
    "errors",
    "registry",
    "randomness",
    "settings",
    "whole_files",
    "weight_files",
    "weight_fit",
    "weight_copies",
    "checkpoint",
    "parallel",
    "functional",
    "activation_checkpointing",
    "execution",
    "intervals",
    "augmentation",
    "views",
    "models",
    "architectures",
    "data",
    "tasks",
    "triggers",
    "attacks",
    "backdoor",
    "poisoning",
    "progress",
    "recipe",
    "feeds",
    "resumable",
    "training",
    "scales",
    "workshop",
    "victim",
    "wrappers",
    "sites",
    "masked_layers",
    "placement",
    "masks",
    "tuning",
    "weight_tuning",
    "pruning",
    "perturbations",
    "inversion",
    "tracing",
    "defenses",
    "verdict",
    "purification",
    "evaluation",
    "bench",
    "report",
    "cli",
]
FILES = sorted(SOURCE.rglob("*.py"))
BLIND = (
    *(
        "defenses",
        "verdict",
        "purification",
        "tuning",
        "weight_tuning",
        "functional",
        "pruning",
        "perturbations",
        "inversion",
        "tracing",
    ),
    *("masks", "placement", "masked_layers", "sites", "wrappers"),
)
SIGHT = ("triggers", "attacks", "backdoor", "poisoning", "workshop", "victim", "evaluation", "bench", "report", "cli")


def imports(path: Path, *, late: bool = True) -> set[str]:
    """The dotted modules of the package that a file imports; with `late`, also inside functions."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if late else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("detrojan.")}


def room(dotted: str) -> str:
    return dotted.split(".")[1]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def reachable(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """All the rooms that a room's imports lead to; the late import by which a result writes its report is left out."""
    todo, found = {name}, set()
    while todo:
        current = todo.pop()
        paths = [p for p in FILES if room_of(p) == current]
        for path in paths:
            late = current != "purification"
            new = {room(dotted) for dotted in imports(path, late=late)} - found - {current}
            found |= new
            todo |= new & set(ROOMS)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_import_against_the_flow(path):
    own = room_of(path)
    if own in ("__init__", "__main__"):
        return
    assert own in ROOMS, f"{own} is a new room: give it its place in ROOMS and in docs/architecture.md"
    late = own != "purification"  # a result can write its own report
    for dotted in imports(path, late=late):
        if room(dotted) in ROOMS:
            below = f"{path.name} imports {dotted}, which stands below it"
            assert ROOMS.index(room(dotted)) <= ROOMS.index(own), below


@pytest.mark.parametrize("package", ["attacks", "defenses", "tasks"])
def test_no_method_imports_its_sibling(package):
    for path in (SOURCE / package).glob("[a-z]*.py"):
        siblings = {
            dotted
            for dotted in imports(path)
            if dotted.startswith(f"detrojan.{package}.") and dotted.split(".")[2][0].islower()
        }
        assert not siblings, f"{package}/{path.name} imports {siblings}"


@pytest.mark.parametrize("blind", BLIND)
def test_nothing_that_purifies_can_reach_a_trigger_or_a_test_set(blind):
    assert not reachable(blind) & set(SIGHT)


def test_the_oracle_test_itself_would_see_a_breach():
    assert "backdoor" in reachable("evaluation")
    assert "attacks" in reachable("victim")


def test_defenses_name_no_test_split():
    for path in (SOURCE / "defenses").glob("*.py"):
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        arguments = {
            a.arg for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.arguments) for a in n.args
        }
        assert not {n for n in names | arguments if "trigger" in n or "asr" in n.split("_") or n.startswith("test")}
