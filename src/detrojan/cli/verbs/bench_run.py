"""`detrojan bench run`: the rows of a grid, wherever an engine finds room for them."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from detrojan.cli import reading
from detrojan.cli.console import Screen, percent
from detrojan.cli.options import BENCH, Bench, Flag, Pairs

if TYPE_CHECKING:
    from detrojan.bench.sweep import Progress


def run(
    grid: str,
    /,
    *,
    bench: Bench = BENCH,
    engine: str = "processes",
    engine_arg: Pairs = (),
    device: str = "auto",
    json: Flag = False,
) -> int:
    """Make the rows of a grid that are missing: train its victims, purify them, score what comes out.

    A row is written when it is finished; after a Ctrl-C, a kill or a crash the same command goes on, and a training
    goes on after its last whole epoch. Several machines can fill a store each, which are merged afterwards.

    Args:
        grid: A grid of `detrojan list grids`, or a TOML file.
        engine: Where the jobs run: one of `detrojan list engines`.
        engine_arg: Settings of the engine, such as workers=2 or address=auto.
        device: Of each job: auto, cpu, cuda.
        json: Print one JSON document on stdout, and nothing else there.
        bench: See `Bench`.
    """
    screen = Screen(as_json=json)
    from detrojan.bench.engines import ENGINES
    from detrojan.bench.sweep import sweep

    found = reading.grid(grid, bench)
    chosen = reading.configured(ENGINES, engine, engine_arg, flag="--engine-arg")
    told: set[str] = set()
    with reading.rows(bench.store, new=True) as store:
        outcome = sweep(
            found.cells,
            store,
            bench.store / "victims",
            chosen,
            device=device,
            on_progress=lambda progress: _tell(screen, progress, told),
        )
    screen.say(f"{outcome.made} rows made, {outcome.found} were there, {len(outcome.failures)} failed: {bench.store}")
    for sentence, count in Counter(outcome.failures.values()).items():
        screen.note(f"{count} times: {sentence}")
    code = 1 if outcome.failures else 0
    document = {"verb": "bench run", "grid": found.name, "store": bench.store, **asdict(outcome), "exit_code": code}
    screen.finish(document)
    return code


def _tell(screen: Screen, progress: "Progress", told: set[str]) -> None:
    """One line for each job that was begun; the sentence of a failure once."""
    from detrojan.bench.cells import Cell
    from detrojan.bench.sweep import NO_VICTIM
    from detrojan.bench.tables import shown_victim

    job = progress.job
    if progress.failure == NO_VICTIM:
        return
    if isinstance(job, Cell):
        name = f"{shown_victim(job)} seed {job.seed}, {job.shown or job.defense}, {job.clean}"
    else:
        name = f"{job.shown or job.attack or 'benign'} seed {job.seed}"
    if progress.row is None:
        said = "failed, as above" if progress.failure in told else f"failed: {progress.failure}"
        told.add(progress.failure)
    elif "refused" in progress.row.result:
        said = f"refused: {progress.row.result['refused']}"
    else:
        figures = {m: progress.row.result[m]["value"] for m in ("acc", "asr") if m in progress.row.result}
        said = ", ".join(f"{metric.upper()} {percent(value)}" for metric, value in figures.items())
    screen.note(f"[{progress.done}/{progress.total}] {name}: {said}")
