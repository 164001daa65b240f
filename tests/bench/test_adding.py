"""A stranger's file joins when it holds the contract, and is told what it breaks otherwise."""

import pytest

from detrojan.bench.adding import add_defense
from detrojan.bench.cells import Cell, VictimSpec
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadFile

GOOD = '''
"""Theirs: adds a little to every bias. Source: nobody."""
from dataclasses import dataclass
import torch
from detrojan.tuning import Tuned

@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """Adds `amount`."""
    amount: float = 0.01

    def __call__(self, victim, clean, context):
        WORK
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name.endswith("bias"):
                    value += self.amount
        return Tuned(model=model, masks={}, losses=())

METHOD = Theirs
'''
COPY = "import copy; model = copy.deepcopy(victim)"


@pytest.fixture(autouse=True)
def methods(tmp_path, monkeypatch):
    monkeypatch.setenv("DETROJAN_METHODS", str(tmp_path / "methods"))
    return tmp_path / "methods" / "defenses"


@pytest.fixture
def write(tmp_path):
    def write(text, name="theirs.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_good_file_becomes_a_defense_with_a_key_of_its_own(write, methods):
    target = add_defense(write(GOOD.replace("WORK", COPY)))
    assert target == methods / "theirs.py"
    assert "theirs" in DEFENSES
    assert DEFENSES.name_of(DEFENSES.build("theirs", amount=1.0)) == "theirs"
    assert Cell(victim=VictimSpec(), defense="theirs").key != Cell(victim=VictimSpec(), defense="nft").key
    with pytest.raises(BadArgument, match="exists already"):
        add_defense(write(GOOD.replace("WORK", COPY)))
    add_defense(write(GOOD.replace("WORK", COPY)), force=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("METHOD = 3", "is not a defense that can be compared"),
        ("raise RuntimeError('boom')", "boom"),
        ("x =", "is not a defense that can be compared"),
        (GOOD.replace("WORK", COPY + "; model[0].weight.data += torch.rand(1)"), "same seed gives another network"),
        (GOOD.replace("WORK", COPY + "; model[0].weight.data *= float('nan')"), "NaN or infinite"),
        (
            GOOD.replace("WORK", COPY).replace("losses=()", "losses=(), notes={'found': torch.ones(2)}"),
            "notes or settings hold what JSON cannot",
        ),
    ],
    ids=["no method", "raises", "no Python", "draws", "NaN", "no JSON"],
)
def test_a_file_that_breaks_the_contract_is_refused_with_the_reason(write, methods, text, sentence):
    with pytest.raises(BadFile, match=sentence):
        add_defense(write(text, "broken.py"))
    assert not methods.exists()


@pytest.mark.parametrize("name", ["Theirs.py", "_theirs.py", "2stage.py", "of.theirs.py"])
def test_a_file_that_would_not_be_found_by_its_name_is_refused(write, methods, name):
    with pytest.raises(BadArgument, match=f"{name}: the file of a method begins with a small letter"):
        add_defense(write(GOOD.replace("WORK", COPY), name))
    assert not methods.exists()


def test_names_that_are_taken_and_files_that_are_none_are_refused(write, tmp_path):
    with pytest.raises(BadArgument, match="comes with Detrojan"):
        add_defense(write(GOOD.replace("WORK", COPY), "nft.py"))
    with pytest.raises(BadFile, match="is no Python file"):
        add_defense(tmp_path / "absent.py")
