"""A grid file becomes the product of its axes, and says what is wrong with it."""

import pytest

from detrojan.bench import grid
from detrojan.errors import BadFile, DetrojanError, UnknownName

SHEET = """
title = "A grid"
seeds = [0, 1]
[victim]
data = "digits"
kept = 100
poison_rate = [0.05, 0.1]
[clean]
per_class = [1, 5]
kind = ["in-distribution", "corrupted"]
[attacks]
Benign = "none"
Corner = { attack = "badnets", settings = { size = 8 }, mapping = "all-to-all" }
[defenses]
NFT = "nft"
"NFT, short" = { defense = "nft", settings = { steps = 5 } }
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return grid.named(str(tmp_path / "mine.toml"))

    return write


def test_every_list_is_an_axis(write):
    found = grid.read(write(SHEET))
    assert (found.name, found.title) == ("mine", "A grid")
    assert len(found.cells) == 2 * 2 * 2 * 4 * 2  # seeds, attacks, poison rates, clean sets, defenses
    assert len({cell.key for cell in found.cells}) == len(found.cells)
    assert {cell.victim.seed for cell in found.cells if cell.seed == 1} == {1}
    corner = next(cell for cell in found.cells if cell.victim.shown == "Corner")
    assert corner.victim.method().size == 8
    assert corner.victim.mapping == "all-to-all"
    assert {cell.method().steps for cell in found.cells if cell.shown == "NFT, short"} == {5}


def test_a_defense_may_have_clean_sets_of_its_own(write):
    own = SHEET.replace('NFT = "nft"', 'NFT = { defense = "nft", clean = { count = [10, 50, 100] } }')
    cells = grid.read(write(own), seeds=[0]).cells
    counts = {label: {str(c.clean) for c in cells if c.shown == label} for label in ("NFT", "NFT, short")}
    assert counts["NFT"] == {"10", "50", "100"}
    assert counts["NFT, short"] == {"1 a class", "5 a class", "1 a class, corrupted", "5 a class, corrupted"}


def test_victims_that_differ_have_names_that_differ(write):
    axes = SHEET.replace("kept = 100", 'kept = [100, 200]\nmapping = ["all-to-one", "all-to-all"]')
    shown = {cell.victim.shown for cell in grid.read(write(axes), seeds=[0]).cells}
    own = {f"Corner, {kept}" for kept in (100, 200)}  # its mapping is its own
    assert shown == own | {f"Benign, {kept}, all-to-{whom}" for kept in (100, 200) for whom in ("one", "all")}


def test_the_command_line_wins_over_the_file(write):
    found = grid.read(write(SHEET), scale="full", seeds=[7])
    assert {(cell.victim.scale, cell.victim.seed, cell.seed) for cell in found.cells} == {("full", 7, 7)}


@pytest.mark.parametrize("name", grid.shipped())
def test_the_grids_of_the_package_name_only_what_exists(name):
    found = grid.read(grid.named(name), seeds=[0])
    assert found.title
    assert all(cell.method() is not None and cell.victim.key for cell in found.cells)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("title =", "title = =", "is no TOML file"),
        ("seeds = [0, 1]", "seed = [0, 1]", "seed: .* got"),
        ("kept = 100", "keep = 100", "did you mean 'kept'"),
        ("kept = 100", 'kept = "many"', "kept: .* got 'many'"),
        ("per_class = [1, 5]", "per_class = 1\ncount = 5", "either count or per_class"),
        ('kind = ["in-distribution", "corrupted"]', 'kind = "broken"', "kind: .* got 'broken'"),
        ('NFT = "nft"', 'NFT = { defense = "nft", clean = { counts = 5 } }', "Clean.* 'counts', did you mean 'count'"),
        ("steps = 5", "step = 5", "defense 'NFT, short': there is no setting 'step', did you mean 'steps'"),
        ("steps = 5", 'steps = "few"', "steps must be int, got 'few'"),
        ("size = 8", "sise = 8", "attack 'Corner': there is no setting 'sise', did you mean 'size'"),
        ("[defenses]", "[around.NFT]\nstep = [3]\n[defenses]", "defense 'NFT, step=3': there is no setting 'step'"),
    ],
)
def test_a_mistake_is_one_sentence(write, before, after, sentence):
    with pytest.raises(DetrojanError, match=sentence):
        grid.read(write(SHEET.replace(before, after)))


def test_an_unknown_grid_gets_the_nearest_name(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        grid.named("tinny")
    with pytest.raises(UnknownName, match=r"no\.toml is not there"):
        grid.named(str(tmp_path / "no.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile, match="is no TOML file"):
        grid.read(tmp_path / "bytes.toml")
