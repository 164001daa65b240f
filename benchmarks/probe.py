"""What the search for patches said of each network, and what it should have said.

    python benchmarks/probe.py strength-cifar10.jsonl    # writes strength-cifar10-probe.md here

Rows are those of `consistency_distil` in a published file; its notes name the class with the smallest patch.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from detrojan.whole_files import write_text
from rows import published

HERE = Path(__file__).parent
PATCH = "smallest patch"


def probed(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, a line for each network, the oddest first; `rows` are the lines of a published file."""
    found = []
    for row in rows:
        notes = row["result"].get("notes", {})
        if row["kind"] == "cell" and PATCH in notes:
            named = re.search(r"class (\d+)", notes[PATCH])
            least, median = re.findall(r"([\d.]+) %", notes[PATCH])
            attacked = row["spec"]["victim"]
            target = "-" if attacked["attack"] == "none" else str(attacked["target"])
            if attacked["mapping"] == "all-to-all":
                target = "all"
            cells = [attacked["shown"], str(row["spec"]["seed"]), f"{notes['how odd that is, 0 to 1']:.2f}"]
            found.append([*cells, named[1] if named else "-", target, least, median])
    lines = ["| network | seed | how odd | class named | class attacked | smallest patch, % | median, % |"]
    lines.append("|---|---|---|---|---|---|---|")
    return lines + [f"| {' | '.join(cells)} |" for cells in sorted(found, key=lambda cells: cells[2], reverse=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a file of rows in this folder")
    arguments = parser.parse_args()
    path = HERE / arguments.rows
    table = probed(published(path))
    head = [
        "# What the smallest patch says of each network",
        "",
        f"Written by `python benchmarks/probe.py {arguments.rows}` from its rows. Odd is 0 to 1; patches are",
        "shares of an image's pixels. Nothing but clean images was looked at.",
        "",
    ]
    write_text(path.with_name(f"{path.stem}-probe.md"), "\n".join([*head, *table]) + "\n")
