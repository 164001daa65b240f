from dataclasses import dataclass
from typing import Literal

import pytest

from detrojan.errors import BadArgument
from detrojan.settings import configured, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    steps: int = 10
    rate: float = 0.1
    mode: Literal["soft", "hard"] = "soft"
    on: bool = True
    limit: float | None = 1.0
    depths: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadArgument(f"steps must be at least 1, got {self.steps}")


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], Method()),
        (["steps=3"], Method(steps=3)),
        (["steps=3", "steps=4"], Method(steps=4)),
        (["rate=1e-3", "mode=hard"], Method(rate=1e-3, mode="hard")),
        (["on=false"], Method(on=False)),
        (["on=0"], Method(on=False)),
        (["limit=none"], Method(limit=None)),
        (["depths=[2, 2]"], Method(depths=(2, 2))),
        ([" rate = 2 "], Method(rate=2.0)),
    ],
)
def test_text_becomes_typed_settings(pairs, expected):
    assert configured(Method, pairs, flag="--set") == expected


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["step=3"], "--set: there is no setting 'step', did you mean 'steps'? Known: steps, rate"),
        (["steps=many"], "--set: steps must be int, got 'many'"),
        (["steps=1.5"], "steps must be int, got '1.5'"),
        (["mode=sfot"], "mode must be soft | hard, got 'sfot'"),
        (["steps"], "--set: 'steps' is not of the form key=value"),
        (["=3"], "'=3' is not of the form key=value"),
        (["steps=0"], "steps must be at least 1, got 0"),
        (["rat=1", "mode=x"], "'rat', did you mean 'rate'? Known: steps, rate, mode, on, limit, depths; mode must be"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(pairs, sentence):
    with pytest.raises(BadArgument) as raised:
        configured(Method, pairs, flag="--set")
    assert sentence in str(raised.value)


def test_settings_are_told_with_type_and_default():
    told = {each.name: (each.type, each.default) for each in settings_of(Method)}
    assert told["mode"] == ("soft | hard", "soft")
    assert told["depths"] == ("tuple[int, ...]", (1,))
    assert not any(each.required for each in settings_of(Method))
