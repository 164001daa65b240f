"""Names are file names, modules are imported late, errors suggest."""

from importlib.metadata import EntryPoint

import pytest

from detrojan.attacks import ATTACKS
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, UnknownName
from detrojan.registry import Registry, added_methods
from detrojan.tasks import TASKS


@pytest.mark.parametrize("registry", [ATTACKS, DEFENSES, TASKS], ids=lambda r: r.kind)
def test_every_method_is_a_frozen_dataclass_with_a_docstring(registry):
    assert len(registry) > 0
    for name in registry:
        method = registry[name]
        assert method.__doc__.strip()
        assert method.__dataclass_params__.frozen
        assert method() == method()
        assert name in registry


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="no attack 'badnet', did you mean 'badnets'"):
        ATTACKS["badnet"]


def test_private_files_are_no_methods():
    assert "_checks" not in ATTACKS
    assert "_checks" not in set(ATTACKS)


def test_a_configured_method_passes_through():
    attack = ATTACKS.build("badnets", size=5)
    assert ATTACKS.build(attack) is attack
    assert attack.size == 5


def test_a_broken_sibling_hurts_nobody(tmp_path, monkeypatch):
    package = tmp_path / "strange_methods"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("raise RuntimeError('boom')")
    (package / "fine.py").write_text("METHOD = int")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("method", "strange_methods")
    assert list(registry) == ["broken", "fine"]
    assert registry["fine"] is int
    with pytest.raises(RuntimeError, match="boom"):
        registry["broken"]


def test_the_name_of_a_method_is_that_of_its_registration(tmp_path, monkeypatch):
    assert ATTACKS.name_of(ATTACKS.build("badnets", size=5)) == "badnets"
    (tmp_path / "their_module.py").write_text("class METHOD: pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    theirs = EntryPoint(name="theirs", value="their_module", group=ATTACKS.package)
    monkeypatch.setattr(
        "detrojan.registry._installed", lambda package: {theirs.name: theirs.value} if package == theirs.group else {}
    )
    assert ATTACKS.name_of(ATTACKS.build("theirs")) == "theirs"


def test_a_user_without_a_home_has_the_methods_that_are_shipped(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DETROJAN_METHODS", raising=False)
    monkeypatch.setattr("detrojan.registry.Path.home", nowhere)
    assert "nft" in DEFENSES
    with pytest.raises(BadArgument, match="a folder for added methods in DETROJAN_METHODS"):
        added_methods(DEFENSES.package)
