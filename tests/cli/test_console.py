import json
import math
from pathlib import Path

import pytest
import torch

from detrojan.cli.console import Screen, complain, percent, plain, size
from detrojan.intervals import proportion
from detrojan.progress import Step


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (math.inf, None),
        (Path("a/b"), "a/b"),
        ({1: (True, None)}, {"1": [True, None]}),
        (torch.tensor([1, 2]), [1, 2]),
        (proportion(1, 2).value, 0.5),
        (Step(index=1, total=2, loss=0.5, stage="s"), {"index": 1, "total": 2, "loss": 0.5, "stage": "s"}),
    ],
)
def test_plain_values(value, expected):
    assert plain(value) == expected


@pytest.mark.parametrize(("share", "text"), [(0.1234, "12.3"), (1.0, "100.0"), (float("nan"), "-")])
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_size(count, text):
    assert size(count) == text


def test_stages_are_logged_one_line_each_where_there_is_no_terminal(capsys):
    with Screen().progress() as on_step:
        for stage, loss in (("first", 2.0), ("second", float("nan"))):
            for index in (1, 2):
                on_step(Step(index=index, total=2, loss=loss, stage=stage))
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("first: 2 of 2 steps, loss 2.000, ")
    assert second.startswith("second: 2 of 2 steps, ")
    assert "nan" not in second


def test_with_json_only_the_document_reaches_stdout(capsys):
    screen = Screen(as_json=True)
    screen.say("a sentence")
    screen.table("title", ("name", "value"), [("a", 1)])
    screen.facts({"Fact": 1, "None": None})
    screen.finish({"value": float("nan")})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"value": None}
    assert "a sentence" in err
    assert "None" not in err


def test_names_with_brackets_are_no_markup(capsys):
    Screen().table("t", ("name", "value"), [("[red]x[/red]", "[1, 2]")])
    assert "[red]x[/red]" in capsys.readouterr().out


EVIL = "\x1b]0;mine\x07\x9b2J\u202e[red]"


@pytest.mark.parametrize(
    "tell",
    [
        lambda screen: screen.say(EVIL),
        lambda screen: screen.note(EVIL),
        lambda screen: screen.facts({EVIL: EVIL}),
        lambda screen: screen.table(EVIL, ("name", "value"), [(EVIL, EVIL)]),
        lambda _: complain(EVIL),
    ],
)
def test_what_a_file_calls_its_things_cannot_steer_the_terminal(tell, capsys):
    tell(Screen())
    said = "".join(capsys.readouterr())
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert "\ufffd]0;mine\ufffd\ufffd2J\ufffd[red]" in said


def test_a_long_stage_is_logged_each_minute_with_what_is_left(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("detrojan.cli.console.time.perf_counter", lambda: next(clock))
    with Screen().progress() as on_step:
        for index in range(61, 71):  # a training that goes on after its first sixty steps
            on_step(Step(index=index, total=100, loss=1.0, stage="training"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 64 of 100 steps, loss 1.000, 80.0 s, about 12 min left"
    assert len(lines) == 3
    assert lines[-1].startswith("training: 70 of 100 steps")


def test_the_bar_of_a_training_that_goes_on_tells_the_time_that_is_left():
    from rich.console import Console
    from rich.progress import Progress

    from detrojan.cli.console import _Bars

    seconds = [0.0]
    progress = Progress(console=Console(quiet=True), get_time=lambda: seconds[0])
    bars = _Bars(progress)
    for index in range(61, 71):
        seconds[0] += 2.0
        bars(Step(index=index, total=100, loss=1.0, stage="training"))
    assert progress.tasks[0].time_remaining == 60
