"""How far a method is ahead of each other one, pair by pair.

    python benchmarks/leads.py strength-cifar10.jsonl consistency_distil

writes strength-cifar10-leads.md here. Rows are those of a published file; intervals are those of the bench's tables
(bootstrap over victims and seeds).
"""

import argparse
from collections import defaultdict
from pathlib import Path

from detrojan.bench.statistics import Figures, against
from detrojan.intervals import Estimate
from detrojan.whole_files import write_text
from rows import published

HERE = Path(__file__).parent


def figures_of(rows: list[dict], metric: str) -> dict[str, Figures]:
    """By method, victim and seed, in %; of attacked victims."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["kind"] == "cell" and "der" in row["result"]:
            spec = row["spec"]
            found[spec["shown"]][spec["victim"]["shown"]][str(spec["seed"])] = 100 * row["result"][metric]["value"]
    return dict(found)


def leads(rows: list[dict], method: str) -> list[str]:
    """A Markdown table, a line for each other method; `rows` are the lines of a published file."""
    ders, asrs, accs = (figures_of(rows, metric) for metric in ("der", "asr", "acc"))
    head = f"| {method} against | ahead in DER, points | p (Wilcoxon, victims) | less ASR left | more ACC kept |"
    lines = [head, "|---|---|---|---|---|"]
    for name in sorted(ders.keys() - {method}):
        (der,) = against(ders[name], {method: ders[method]})
        (acc,) = against(accs[name], {method: accs[method]})
        (asr,) = against(asrs[method], {name: asrs[name]})
        parts = (_told(der.difference), f"{der.p:.3f}", _told(asr.difference), _told(acc.difference))
        lines.append(f"| {name} | {' | '.join(parts)} |")
    return lines


def _told(lead: Estimate) -> str:
    return f"{lead.value:.1f} [{lead.low:.1f}, {lead.high:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a file of rows in this folder")
    parser.add_argument("method")
    arguments = parser.parse_args()
    path = HERE / arguments.rows
    head = f"Written by `python benchmarks/leads.py {arguments.rows} {arguments.method}` from the rows there.\n"
    lines = leads(published(path), arguments.method)
    write_text(path.with_name(f"{path.stem}-leads.md"), "\n".join([head, *lines]) + "\n")
