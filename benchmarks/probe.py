"""What the search for the smallest changes said of each network, and what it should have said.

    python benchmarks/probe.py strength-cifar10.jsonl    # writes strength-cifar10-probe.md here

Rows are those of `consistency_distil` in a published file; its notes tell what is reached with how much of each kind of
change that was sought. Told is the kind that is the oddest.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from detrojan.defenses._changes import KINDS
from detrojan.defenses._oddness import ENOUGH
from detrojan.defenses._smallest_changes import ODD_AWAY
from detrojan.whole_files import write_text
from rows import published

HERE = Path(__file__).parent
ODD = {f"smallest {kind.name}": kind.odd for kind in KINDS}
PAIRS, PAIRS_ODD = "pairs read as what neither is", "how odd such pairs are, 0 to 1"
SHARES = re.compile(r"([\d.]+) %")


def probed(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, a line for each network, the oddest first; `rows` are the lines of a published file."""
    cells = list[list[str]]()
    for row in rows:
        kinds = {
            name: note for name, note in row["result"].get("notes", {}).items() if " to the next class " in str(note)
        }
        if row["kind"] == "cell" and kinds:
            attacked = row["spec"]["victim"]
            target = "-" if attacked["attack"] in (None, "none") else str(attacked["target"])
            if attacked["mapping"] == "all-to-all":
                target = "all"
            name = min(kinds, key=lambda kind: share(kind, kinds[kind])[0])
            away = share(name, kinds[name])[1]
            named = "all" if away else kinds[name].split()[2].strip(",")
            odd = f"{row['result']['notes']['how odd that is, 0 to 1']:.2f}"
            shares = SHARES.findall(kinds[name])
            told = [name.removeprefix("smallest "), named, target, *[*shares, "-"][:4]]
            notes = row["result"]["notes"]
            if notes.get(PAIRS_ODD, 0.0) > max(ENOUGH, notes["how odd that is, 0 to 1"]):
                odd = f"{notes[PAIRS_ODD]:.2f}"
                told = ["pair", notes[PAIRS].split()[1].strip(","), target, *["-"] * 4]
            cells.append([attacked["shown"], str(row["spec"]["seed"]), odd, *told])
    lines = ["| network | seed | how odd | kind | named | attacked | least, % | next, % | median, % | any other, % |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    return lines + [f"| {' | '.join(each)} |" for each in sorted(cells, key=lambda each: (-float(each[2]), each[0]))]


def share(kind: str, note: str) -> tuple[float, bool]:
    """How small the smallest change is beside what it is compared with; whether it leads to any class but one's own."""
    least, following, _, *away = map(float, SHARES.findall(note))
    ratios = [least / following / ODD[kind], *(each / least / ODD_AWAY for each in away)]
    return min(ratios), len(ratios) > 1 and ratios[1] < ratios[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a file of rows in this folder")
    arguments = parser.parse_args()
    path = HERE / arguments.rows
    table = probed(published(path))
    head = [
        "# What the smallest change says of each network",
        "",
        f"Written by `python benchmarks/probe.py {arguments.rows}` from its rows. Odd is 0 to 1; patches are",
        "shares of an image's pixels, warps of its side, filters of a pixel's own weight.",
        "All: any class but an image's own. Where a patch is odd, no warp and no filter was sought. A pair: images of",
        "one class beside others are read as the named one. Nothing but clean images was looked at.",
        "",
    ]
    write_text(path.with_name(f"{path.stem}-probe.md"), "\n".join([*head, *table]) + "\n")
