"""The page: what it says in each case, what it never does, and how it is written."""
# ruff: noqa: RUF001 - the page has true minus signs and dashes

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData
from detrojan.evaluation.protocol import Scores
from detrojan.intervals import paired_loss, proportion
from detrojan.purification import Result
from detrojan.report import formats
from detrojan.report.inputs import Exchange
from detrojan.report.page import Run, render, write
from detrojan.tuning import Cost
from detrojan.verdict import Verdict

NAMES = ("airplane", "automobile", "bird")


def verdict(*, accepted=True, weak=False, agreement=19, doubt=""):
    right = {label: proportion(8 + label // 2, 10) for label in range(3)}
    return Verdict(
        accepted=accepted,
        reason="Clean accuracy lost 5.0 %." if accepted else "Too much was lost. The victim is returned unchanged.",
        weak=weak,
        doubt=doubt,
        before=proportion(19, 20),
        after=proportion(18 if accepted else 9, 20),
        lost=paired_loss(2, 1, 20) if accepted else paired_loss(10, 0, 20),
        agreement=proportion(agreement, 20),
        per_class_before=right,
        per_class_after=right | {1: proportion(5, 10)},
    )


def result(*, masks=True, losses=(2.0, 1.5, 1.0), images=(3, 8, 8), names=NAMES, **judged):
    weak = judged.get("weak", False)
    labels = torch.arange(30) % 3
    return Result(
        model=nn.Linear(1, 1),
        masks={"stem.norm": torch.tensor([0.0, 0.005, 0.5, 1.0]), "head.norm": torch.ones(4)} if masks else {},
        losses=losses,
        cost=Cost(seconds=75.2, forwards=1012, backwards=1000, peak_bytes=600 << 20),
        verdict=verdict(**judged),
        method="nft",
        settings={"steps": 1000, "learning_rate": 0.05},
        task="image",
        seed=7,
        execution="cpu, float32",
        tuned=tuple(range(30)) if weak else tuple(range(10)),
        judged=tuple(range(30)) if weak else tuple(range(10, 30)),
        clean=Samples(inputs=torch.zeros(30, *images), labels=labels, class_names=names, name="birds & planes"),
        notes={"masked norms": 2},
    )


def scores(acc, asr):
    right, fooled = torch.arange(100) < acc, None if asr is None else torch.arange(90) < asr
    return Scores(
        acc=proportion(acc, 100),
        asr=None if asr is None else proportion(asr, 90),
        ra=None if asr is None else proportion(90 - asr, 90),
        per_class={label: proportion(40, 50) for label in range(2)},
        right=right,
        fooled=fooled,
    )


def words(page: str) -> str:
    """The page's visible text, spaces joined."""
    body = re.sub(r"<style>.*?</style>", "", page[page.index("<body>") :], flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body).replace("\u00a0", " "))


FULL = {
    "before": scores(90, 88),
    "after": scores(88, 3),
    "triggered_examples": torch.zeros(12, 3, 8, 8, dtype=torch.uint8),
    "hashes": {"input": "ab" * 32, "output": "cd" * 32},
    "command": "detrojan purify a.pth --report b.html",
}

CASES = {
    "accepted": (
        result(),
        {},
        [
            "Accepted",
            "95.0 %",
            "90.0 %",
            "−5.0",
            "that the tuning never saw",
            "held out to judge",
            "25.0 % were removed",
            "62.5 % stayed intact",
            "stem.norm",
            "Removed 25.0 % of 8 factors",
            "1 min 15 s",
            "1,012",
            "1,000",
            "600 MiB",
            "10 tuned on, 20 held out",
            "0–9",
            "10–29",
            "learning_rate 0.05",
            "seed 7",
            "execution cpu, float32",
            "masked norms 2",
            "torch",
        ],
    ),
    "rejected": (result(accepted=False, agreement=10), {}, ["Rolled back", "(20): the attempt", "45.0 %", "−50.0"]),
    "weak": (result(weak=True), {}, ["Weak judgement", "such figures flatter", "30, both tuned and judged on"]),
    "doubtful": (result(doubt="check labels"), {}, ["Weak judgement: labels or preprocessing are doubtful"]),
    "scored": (
        result(),
        FULL,
        [
            "Test set (100)",
            "ACC",
            "ASR",
            "97.8 %",
            "3.3 %",
            "−94.4",
            "DER",
            "0.96",
            "trigger is known",
            "With the trigger",
            "ab" * 32,
            "detrojan purify a.pth --report b.html",
            "On the test set",
        ],
    ),
    "clean scores": (result(), {"before": scores(90, None)}, ["Test set (100)", "ACC"]),
}


@pytest.mark.parametrize("case", CASES)
def test_says(case):
    made, extras, expected = CASES[case]
    text = words(render(made, **extras))
    assert [part for part in expected if part not in text] == []


BARE = {
    "notes": {},
    "settings": {},
    "losses": (float("nan"), float("inf")),
    "cost": Cost(seconds=1.0, forwards=1, backwards=1, peak_bytes=0),
}
ABSENT = {
    "images": (result(images=(5,)), ["Example inputs"]),
    "attempt": (result(accepted=False, agreement=20), ["Same answer", "Accuracy by class", "the attempt "]),
    "extras": (result(), ["Test set", "ASR", "SHA-256", "Command", "All runs", "With the trigger", "Weak", "is known"]),
    "records": (
        replace(result(masks=False), **BARE),
        ["What was cut", "Removed", "Loss", "own findings", "Settings of the method", "Peak memory"],
    ),
    "no step": (result(losses=()), ["Loss", "3 steps"]),
}


@pytest.mark.parametrize("part", ABSENT)
def test_missing_parts_vanish(part):
    made, absent = ABSENT[part]
    text = words(render(made))
    assert "Accepted" in text or "Rolled back" in text
    assert [word for word in absent if word in text] == []


def test_findings_are_told_once():
    assert words(render(result())).count("masked norms") == 1


def test_runs_in_one_table():
    before, after = scores(90, 88), scores(80, 9)
    runs = [Run.of("1 sample a class", result(accepted=False), before=before), Run.of("ten", result(), after=after)]
    text = words(render(result(), rows=[*runs, Run(label="plain", seconds=3.21, accepted=True)]))
    assert "1 sample a class – – – 1 min 15 s Rolled back" in text
    assert "ten 80.0 % 10.0 % 90.0 % 1 min 15 s Accepted" in text
    assert "plain – – – 3.2 s Accepted" in text


def test_run_shows_where_it_came_from():
    run = Run.of("ten", result(), before=scores(90, 88), after=scores(80, 9))
    assert "ten 80.0 % from 90.0 % 10.0 % from 97.8 %" in words(render(result(), rows=[run]))


def test_names_are_escaped():
    evil = ("<script>alert(1)</script>", '"><img src=x onerror=y>', "nul\x00 \udcff")
    first, second, _ = evil
    made = replace(result(names=evil), notes={first: second}, settings={second: first}, masks={first: torch.zeros(3)})
    run = Run(label=second, seconds=1, accepted=True)
    page = render(made, title=first, command=second, hashes={first: second}, rows=[run])
    assert not re.search(r"<script|<img (?!src=\"data:)|[\x00\udcff]", page)
    assert page.count("&lt;script&gt;") > 5


@pytest.mark.parametrize("extras", [{}, FULL], ids=["bare", "full"])
def test_nothing_is_loaded(extras):
    page = render(result(), **extras)
    assert "http" not in page
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b|@import|@font-face", page)
    targets = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(([^)]*)\)""", page)
    assert targets
    assert all((a or b).startswith(("data:image/png;base64,", "#")) for a, b in targets)


def test_sentences_side_by_side():
    told = {"source": "cf a dog", "reference": "ein hund", "before": "you <are>", "after": ""}
    page = render(result(), exchanges=[Exchange(**told, triggered=True, fooled=(True, False))])
    text = words(page)
    assert "Sentences side by side" in text
    assert "With the trigger asked cf a dog right ein hund before you &lt;are&gt; after (nothing)" in text
    assert "Clean asked" not in text
    assert '<dd class="no">you &lt;are&gt;</dd>' in page


def test_bleu_says_how_it_was_computed():
    answered = replace(scores(20, 90), metric="BLEU", signature="nrefs:1|tok:none")
    assert "corpus BLEU, nrefs:1|tok:none" in words(render(result(), before=answered, after=answered))


def test_ids_are_unique_and_all_found():
    page = render(result(), **FULL)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) == set(ids)


def test_same_result_same_bytes(tmp_path):
    pages = [write(result(), tmp_path / name, **FULL).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_write_refuses_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "page.html"
    assert write(result(), path) == path
    path.write_text("mine")
    with pytest.raises(BadArgument, match=r"page\.html exists.*--force"):
        write(result(), path)
    assert path.read_text() == "mine"
    write(result(), path, force=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(BadArgument, match="no folder"):
        write(result(), tmp_path / "none" / "page.html")
    with pytest.raises(BadData, match="different"):
        write(
            result(), tmp_path / "other.html", before=scores(90, 88), after=replace(scores(1, 1), right=torch.ones(3))
        )
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_result_writes_its_own_report(tmp_path):
    path = result().report(tmp_path / "page.html", title="my model")
    assert "<h1>my model</h1>" in path.read_text(encoding="utf-8")


def test_matplotlib_is_left_alone():
    code = (
        "import sys, detrojan.report.page; from detrojan.report import figures; figures.loss([1.0, 2.0], width=300);"
        "assert 'matplotlib.pyplot' not in sys.modules and 'sklearn' not in sys.modules;"
        "import matplotlib; fresh = matplotlib.rcParamsDefault;"
        "assert matplotlib.rcParams['svg.hashsalt'] == fresh['svg.hashsalt']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.points(-0.0001), "0.0"),
        (formats.points(-0.123), "−12.3"),
        (formats.points(0.5), "+50.0"),
        (formats.duration(59.97), "1\u00a0min 00\u00a0s"),
        (formats.duration(3725), "1\u00a0h 02\u00a0min"),
        (formats.positions([9, 0, 1, 2, 5, 8]), "0–2, 5, 8–9"),
        (formats.positions([]), ""),
        (formats.setting(1e-05), "1e-05"),
        (formats.interval(paired_loss(0, 1, 10)).count("−"), 1),
    ],
)
def test_numbers_read_well(shown, expected):
    assert shown == expected
