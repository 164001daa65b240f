"""What the search for the smallest changes said of each network, and what it should have said.

    python benchmarks/probe.py strength-cifar10.jsonl    # writes strength-cifar10-probe.md here

Rows are those of `consistency_distil` in a published file; its notes name what is reached with the smallest change of
each kind that was sought. Told is the kind whose smallest change is the smallest share of the next larger one.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from detrojan.whole_files import write_text
from rows import published

HERE = Path(__file__).parent
SMALLEST = re.compile(r"to (?:class (\d+)|(any) class but)[^,]*, ([\d.]+) %.* next ([\d.]+) %.* median one ([\d.]+) %")


def probed(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, a line for each network, the oddest first; `rows` are the lines of a published file."""
    cells = list[list[str]]()
    for row in rows:
        told = {name: SMALLEST.search(str(note)) for name, note in row["result"].get("notes", {}).items()}
        kinds = {name.removeprefix("smallest "): found for name, found in told.items() if found}
        if row["kind"] == "cell" and kinds:
            kind, least = min(kinds.items(), key=lambda each: float(each[1][3]) / float(each[1][4]))
            attacked = row["spec"]["victim"]
            target = "-" if attacked["attack"] == "none" else str(attacked["target"])
            if attacked["mapping"] == "all-to-all":
                target = "all"
            odd = f"{row['result']['notes']['how odd that is, 0 to 1']:.2f}"
            named = least[1] or "all"
            cells.append([attacked["shown"], str(row["spec"]["seed"]), odd, kind, named, target, *least.groups()[2:]])
    lines = ["| network | seed | how odd | kind | class named | class attacked | smallest, % | next, % | median, % |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    return lines + [f"| {' | '.join(each)} |" for each in sorted(cells, key=lambda each: each[2], reverse=True)]


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
        "All: any class but an image's own. Where a patch is odd, no warp and no filter was sought. Nothing but clean",
        "images was looked at.",
        "",
    ]
    write_text(path.with_name(f"{path.stem}-probe.md"), "\n".join([*head, *table]) + "\n")
