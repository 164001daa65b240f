"""A neighbourhood is what a grid states; a setting stays where a user would hardly notice it."""

from dataclasses import asdict, replace

import pytest

from benching import CELL, VICTIM, share
from detrojan.bench import grid
from detrojan.bench.sensitivity import sensitivities
from detrojan.bench.store import Row
from detrojan.errors import UnknownName

SHEET = """
title = "Around NFT"
[victim]
data = "digits"
kept = 100
[clean]
per_class = 5
[attacks]
BadNets = { attack = "badnets", settings = { size = 8 } }
[defenses]
Mine = { defense = "nft", settings = { steps = 5, batch = 8 } }
[around.Mine]
steps = [3, 10]
batch = [4]
"""


def row(cell, acc, asr):
    result = {"acc": share(acc)} | ({} if asr is None else {"asr": share(asr)})
    return Row(key=cell.key, kind="cell", spec=asdict(cell), result=result, origin={})


def test_each_value_changes_one_setting(tmp_path):
    (tmp_path / "mine.toml").write_text(SHEET)
    cells = grid.read(tmp_path / "mine.toml").cells
    assert [(c.shown, c.around, dict(c.settings)) for c in cells] == [
        ("Mine", "", {"steps": 5, "batch": 8}),
        ("Mine, steps=3", "Mine", {"steps": 3, "batch": 8}),
        ("Mine, steps=10", "Mine", {"steps": 10, "batch": 8}),
        ("Mine, batch=4", "Mine", {"steps": 5, "batch": 4}),
    ]
    (tmp_path / "mine.toml").write_text(SHEET.replace("around.Mine", "around.Min"))
    with pytest.raises(UnknownName, match="did you mean 'Mine'"):
        grid.read(tmp_path / "mine.toml")


def test_a_neighbour_is_compared_on_the_same_victims_and_seeds():
    benign = replace(VICTIM, attack=None, attack_settings={})
    default = [replace(CELL, seed=seed, victim=replace(VICTIM, seed=seed)) for seed in range(3)]
    short = [replace(cell, shown="NFT, steps=2", around="NFT", settings={"steps": 2}) for cell in default]
    long = [replace(cell, shown="NFT, steps=9", around="NFT", settings={"steps": 9}) for cell in default]
    calm = replace(short[0], victim=benign)
    rows = [row(cell, 0.8 + 0.01 * cell.seed, 0.1) for cell in default]
    rows += [row(cell, 0.79 + 0.01 * cell.seed, 0.14) for cell in short[:2]]  # the third is not run yet
    rows += [row(cell, 0.85, 0.16) for cell in long]
    rows += [row(calm, 0.1, None)]
    found = sensitivities([*default, *short, *long, calm], {row.key: row for row in rows})
    assert [(one.defense, one.clean) for one in found] == [("NFT", "2 a class")]
    by_name = {one.name: one for one in found[0].neighbours}
    assert by_name["NFT, steps=2"].acc.value == pytest.approx(-0.01)
    assert by_name["NFT, steps=2"].acc.count == 2
    assert by_name["NFT, steps=2"].stays
    assert by_name["NFT, steps=9"].asr.value == pytest.approx(0.06)
    assert not by_name["NFT, steps=9"].stays
    assert found[0].share == 0.5
