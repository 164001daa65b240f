import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("attacks",), "BadNets: a small patch in the lower right corner."),
        (("defenses",), "nft"),
        (("defenses",), "networks with norms"),
        (("tasks",), "Image classification"),
        (("datasets",), "Handwritten digits"),
        (("architectures",), "detrojan:preact_resnet18"),
        (("architectures", "resnet18"), "torchvision:resnet18"),
        (("attacks", "--settings"), "pattern=white"),
        (("defenses", "nft"), "exponential | constant"),
        (("attacks", "blend"), "picture_seed"),
    ],
)
def test_what_is_listed(detrojan, arguments, shown):
    outcome = detrojan("list", *arguments)
    assert outcome.code == 0
    assert shown in outcome.out


def test_a_name_needs_its_kind(detrojan):
    outcome = detrojan("list", "all", "nft")
    assert outcome.code == 2
    assert "list defenses nft" in outcome.err


def test_an_architecture_that_nobody_has(detrojan):
    outcome = detrojan("list", "architectures", "no_such_network")
    assert outcome.code == 2
    assert "no_such_network" in outcome.err


def test_a_broken_method_is_listed_with_the_reason_and_hides_no_other(detrojan, monkeypatch):
    from detrojan.registry import Registry

    modules = Registry._modules
    monkeypatch.setattr(Registry, "_modules", lambda self: {**modules(self), "broken": "no_such_package.broken"})
    outcome = detrojan("list", "attacks")
    assert outcome.code == 0
    assert "cannot be imported" in outcome.out
    assert "blend" in outcome.out


def test_a_defense_tells_what_it_needs_what_it_serves_and_where_it_comes_from(detrojan):
    outcome = detrojan("list", "defenses", "--json")
    for told in json.loads(outcome.out)["defenses"].values():
        assert {"summary", "needs", "serves", "source", "settings"} <= told.keys()
    assert json.loads(outcome.out)["defenses"]["anp"]["source"].endswith("and its code.")
