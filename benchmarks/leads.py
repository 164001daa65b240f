"""How far a method is ahead of each other one in DER, pair by pair.

    python benchmarks/leads.py strength-cifar10.jsonl consistency_distil --others five-cifar10.jsonl

writes strength-cifar10-leads.md here. Rows are those of published files; the interval is that of the bench's tables
(bootstrap over victims and seeds). Methods that only `--others` has are compared on its victims of the same attacks and
seeds, each DER being measured against its own victim.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from detrojan.bench.statistics import against
from detrojan.whole_files import write_text
from rows import of_seeds, published

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
    parser.add_argument("--others", help="a second file, for the methods that the first one lacks")
    arguments = parser.parse_args()
    path = HERE / arguments.rows
    rows = published(path)
    head = f"Written by `python benchmarks/leads.py {arguments.rows} {arguments.method}"
    if arguments.others:
        others = of_seeds(published(HERE / arguments.others), rows)
        own = {row["spec"]["shown"] for row in rows if row["kind"] == "cell"}
        rows += [row for row in others if row["kind"] == "cell" and row["spec"]["shown"] not in own]
        head += f" --others {arguments.others}"
    head += "` from the rows there.\n"
    write_text(path.with_name(f"{path.stem}-leads.md"), "\n".join([head, *leads(rows, arguments.method)]) + "\n")
