"""A table shows what the rows say, the paper's figures beside, and how many rows are missing."""

from dataclasses import asdict, replace

import pytest

from benching import CELL, VICTIM, share
from detrojan.bench.grid import Grid
from detrojan.bench.store import Row, Store
from detrojan.bench.tables import VICTIM as NO_DEFENSE
from detrojan.bench.tables import Place, markdown, tabulate


@pytest.fixture
def grid():
    victims = [
        replace(VICTIM, shown=name, attack_settings={"size": n}) for n, name in enumerate(["BadNets", "Blend"], 8)
    ]
    benign = replace(VICTIM, attack=None, attack_settings={}, shown="Benign")
    found = [
        replace(CELL, victim=replace(victim, seed=seed), seed=seed, settings={"steps": steps}, shown=shown)
        for victim in [*victims, benign]
        for seed in range(2)
        for steps, shown in ((5, "NFT"), (6, "Other"))
    ]
    return Grid(name="g", title="A grid", paper="table1/CIFAR-10", cells=tuple(found))


@pytest.fixture
def store(grid, tmp_path):
    with Store(tmp_path / "rows.db") as store:
        for cell in grid.cells:
            attacked = cell.victim.attack is not None
            result = {"acc": share(0.9), "seconds": 7.0} | ({"asr": share(1.0), "ra": share(0.0)} if attacked else {})
            store.put(Row(key=cell.victim.key, kind="victim", spec=asdict(cell.victim), result=result, origin={}))
            better = cell.shown == "Other"
            masks = {} if better else {"masks": [1, 0, 0, 3 + cell.seed]}
            result = masks | {
                "acc": share(0.85 if better else 0.8 + 0.02 * cell.seed),
                "cost": {"seconds": 3.0 + cell.seed},
            }
            if attacked:
                result |= {
                    "asr": share(0.02 if better else 0.1),
                    "ra": share(0.7),
                    "der": share(0.9 if better else 0.8),
                }
            if cell.victim.shown == "Blend" and better:
                result = {"refused": "it has no batch norm"}
            if cell.victim.shown != "Blend" or cell.seed == 0 or better:
                store.put(Row(key=cell.key, kind="cell", spec=asdict(cell), result=result, origin={}))
        yield store


def test_entries_are_means_over_seeds_with_the_papers_beside(grid, store):
    table = tabulate(grid, store)
    entries = {entry.place: entry for entry in table.entries}
    nft = entries[Place(victim="BadNets", clean="2 a class", defense="NFT")]
    assert nft.figures["acc"].value == pytest.approx(0.81)
    assert nft.figures["lost"].value == pytest.approx(0.09)
    assert nft.figures["asr"].count == 2
    assert nft.cost["seconds"] == 3.5
    assert nft.paper == pytest.approx({"asr": 0.0174, "acc": 0.9082})
    assert len(nft.keys) == 2
    assert nft.masks == pytest.approx((0.225, 0, 0, 0.775))
    victim = entries[Place(victim="BadNets", clean="2 a class", defense=NO_DEFENSE)]
    assert victim.figures["asr"].value == 1.0
    assert "lost" not in victim.figures
    assert entries[Place(victim="Blend", clean="2 a class", defense="Other")].refused == "it has no batch norm"
    assert table.missing == 1
    assert table.victims == ("BadNets", "Blend", "Benign")
    assert table.defenses == (NO_DEFENSE, "NFT", "Other")


def test_means_over_victims_keep_benign_ones_apart(grid, store):
    summaries = {summary.defense: summary for summary in tabulate(grid, store).summaries}
    nft, other = summaries["NFT"], summaries["Other"]
    assert nft.figures["asr"].value == pytest.approx(0.1)
    assert nft.benign_lost.value == pytest.approx(0.09)
    assert other.against_base.difference.value == pytest.approx(0.1)
    assert other.against_base.difference.count == 2  # it refused the third pair's victim
    assert nft.against_base is None


def test_markdown_shows_all_of_it(grid, store):
    text = markdown(tabulate(grid, store))
    assert "| BadNets | 100.0 / 90.0 (100.0 / 93.0) | 10.0 / 81.0 (1.7 / 90.8) | 2.0 / 85.0 |" in text
    assert "refused" in text
    assert "1 cells of this grid have no row yet" in text


def test_a_grid_without_rows_is_an_empty_table(grid, tmp_path):
    table = tabulate(grid, Store(tmp_path / "none.db"))
    assert table.entries == ()
    assert table.missing == len(grid.cells)
    assert f"{len(grid.cells)} cells" in markdown(table)


def test_neighbours_stand_apart_from_the_defenses(grid, store, tmp_path):
    near = [
        replace(cell, shown="NFT, steps=2", around="NFT", settings={"steps": 2})
        for cell in grid.cells
        if cell.shown == "NFT"
    ]
    for cell in near:
        result = {"acc": share(0.7), "asr": share(0.1)}
        store.put(Row(key=cell.key, kind="cell", spec=asdict(cell), result=result, origin={}))
    table = tabulate(replace(grid, cells=(*grid.cells, *near)), store)
    assert table.defenses == (NO_DEFENSE, "NFT", "Other")
    assert [one.defense for one in table.sensitivities] == ["NFT"]
    assert "Around NFT: 0 of 1 settings" in markdown(table)
    assert "| steps=2 | -10." in markdown(table)


def test_clean_sets_show_the_defenses_that_got_them(grid, store):
    cell = next(cell for cell in grid.cells if cell.shown == "NFT")
    row = next(row for row in store if row.key == cell.key)
    few = replace(cell, clean=replace(cell.clean, per_class=7))
    store.put(replace(row, key=few.key))
    table = tabulate(replace(grid, cells=(*grid.cells, few)), store)
    assert table.defenses_with("2 a class") == (NO_DEFENSE, "NFT", "Other")
    assert table.defenses_with("7 a class") == (NO_DEFENSE, "NFT")
    text = markdown(table)
    assert "Other" in text.split("## 7 a class")[0]
    assert "Other" not in text.split("## 7 a class")[1]
    assert [s.defense for s in table.summaries if s.clean == "7 a class"] == [NO_DEFENSE, "NFT"]
