"""The bench's page: all figures of a table, where each comes from, nothing from elsewhere."""

import re
import shutil
import subprocess
from dataclasses import asdict, replace

import pytest

from benching import CELL, VICTIM, share
from detrojan.bench.grid import Grid
from detrojan.bench.store import Row, Store
from detrojan.bench.tables import tabulate
from detrojan.errors import BadArgument
from detrojan.report.leaderboard import write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHARTS = {
    "before": [[i, i % 7] for i in range(30)],
    "after": [[i % 7, i] for i in range(30)],
    "labels": [i % 3 for i in range(30)],
    "triggered": 10,
}
COST = {"seconds": 3.25, "forwards": 300, "backwards": 200, "peak_bytes": 5_000_000}


@pytest.fixture
def page(tmp_path):
    cells, rows = [], []
    for attack, rate in (("BadNets", 0.02), ("<Blend>", 0.3)):
        victim = replace(VICTIM, shown=attack, target=len(rows))
        result = {"acc": share(0.9), "asr": share(1.0), "ra": share(0.0), "seconds": 60.0}
        origin = {"commit": "abc1234", "date": "2026-01-02", "machine": "x"}
        rows.append(Row(key=victim.key, kind="victim", spec=asdict(victim), result=result, origin=origin))
        for shown, steps in (("NFT", 5), ("Other", 6)):
            cell = replace(CELL, victim=victim, shown=shown, settings={"steps": steps})
            result = {"acc": share(0.85), "asr": share(rate), "ra": share(0.8), "der": share(0.9), "cost": COST}
            result |= {"masks": [5, 0, 0, 1], "charts": CHARTS}
            if (attack, shown) == ("<Blend>", "Other"):
                result = {"refused": "needs <batch norm>"}
            rows.append(Row(key=cell.key, kind="cell", spec=asdict(cell), result=result, origin=origin))
            cells.append(cell)
    grid = Grid(name="g", title="A & B", paper="table1/CIFAR-10", cells=tuple(cells))
    with Store(tmp_path / "rows.db") as store:
        for row in rows:
            store.put(row)
        table = tabulate(grid, store)
    path = tmp_path / "page.html"
    write(table, {row.key: row for row in rows}, path, command="detrojan bench run g")
    return path


def test_it_shows_every_figure_and_where_it_comes_from(page):
    text = page.read_text()
    assert "<h1>A &amp; B</h1>" in text
    assert "2.0 / 85.0" in text
    assert "1.7 / 90.8" in text  # the paper's
    assert "&lt;Blend&gt;" in text
    assert "<Blend>" not in text
    assert "needs &lt;batch norm&gt;" in text
    assert text.count("abc1234") >= 6
    assert "detrojan bench run g" in text
    assert text.count('aria-label="BadNets, NFT: features before and after"') == 2  # wide and narrow
    assert "Distribution of the masks" in text
    linked = set(re.findall(r'href="#(\w+)"', text))
    assert linked <= set(re.findall(r'<tr id="(\w+)"', text))
    assert len(linked) == 5


def test_it_loads_nothing(page):
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_a_page_that_is_there_is_kept(page, tmp_path):
    with Store(tmp_path / "rows.db") as store:
        table = tabulate(Grid(name="g", title="t", paper="", cells=()), store)
    with pytest.raises(BadArgument, match="exists"):
        write(table, {}, page)
    write(table, {}, page, force=True)  # an empty table is a page, too


SCRIPT = """
<script>
addEventListener("load", () => {
  const names = () => [...document.querySelector(".sortable tbody").rows].map(row => row.dataset.name).join();
  const button = document.querySelectorAll(".sortable thead button")[1];
  const told = [names()];
  button.click(); told.push(names());
  button.click(); told.push(names());
  const filter = document.getElementById("filter");
  filter.value = "nft"; filter.dispatchEvent(new Event("input"));
  told.push([...document.querySelector(".sortable tbody").rows].filter(row => !row.hidden).length);
  told.push(document.documentElement.scrollWidth <= innerWidth);
  document.title = told.join("|");
});
addEventListener("error", event => { document.title = "error " + event.message; });
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_sorts_and_filters_it(page, width, tmp_path):
    page.write_text(page.read_text().replace("</body>", SCRIPT + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += [f"--window-size={width},800", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    dom = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120, check=True).stdout
    first, up, down, left, fits = re.search(r"<title>(.*?)</title>", dom)[1].split("|")
    assert first == "No Defense,NFT,Other"
    assert up == "Other,NFT,No Defense"  # ASR 2 (of one victim), 16, 100
    assert down == "No Defense,NFT,Other"
    assert left == "1"
    assert fits == "true"
