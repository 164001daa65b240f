"""How far a method is ahead of each other one in DER, pair by pair.

    python benchmarks/leads.py strength-cifar10.jsonl consistency_distil    # writes strength-cifar10-leads.md here

Rows are those of a published file; the interval is that of the bench's tables (bootstrap over victims and seeds).
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from detrojan.bench.statistics import against
from detrojan.whole_files import write_text

HERE = Path(__file__).parent


def leads(rows: list[dict], method: str) -> list[str]:
    """A Markdown table, a line for each other method; `rows` are the lines of a published file."""
    ders: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["kind"] == "cell" and "der" in row["result"]:
            spec = row["spec"]
            ders[spec["shown"]][spec["victim"]["shown"]][str(spec["seed"])] = 100 * row["result"]["der"]["value"]
    lines = [f"| {method} against | ahead in DER, points | p (Wilcoxon, victims) |", "|---|---|---|"]
    base = ders[method]
    for name in sorted(ders.keys() - {method}):
        (found,) = against(ders[name], {method: base})
        lead = found.difference
        lines.append(f"| {name} | {lead.value:.1f} [{lead.low:.1f}, {lead.high:.1f}] | {found.p:.3f} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a file of rows in this folder")
    parser.add_argument("method")
    arguments = parser.parse_args()
    path = HERE / arguments.rows
    table = leads([json.loads(line) for line in path.read_text().splitlines()], arguments.method)
    head = f"Written by `python benchmarks/leads.py {arguments.rows} {arguments.method}` from the rows in that file.\n"
    write_text(path.with_name(f"{path.stem}-leads.md"), "\n".join([head, *table]) + "\n")
