"""What a verb says and where: results on stdout, as tables or as one JSON document; progress and notes on stderr."""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from detrojan.progress import OnStep, Step

PLAIN_WIDTH = 120
"""Columns of a table that goes to a file or a pipe, which has no width of its own."""
SPEED_PERIOD = 300.0
"""Seconds whose steps tell how long the rest will take; a single step of a large network can last a minute."""
LOG_PERIOD = 60.0
"""Seconds between lines on one stage, where there is no terminal to draw a bar on."""


class Screen:
    """The terminal of one verb; with `as_json` nothing but the document of `finish` reaches stdout.

    Of the processes that `torchrun` started, the first one speaks.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._notes = _console(stderr=True)
        self._results = self._notes if as_json else _console(stderr=False)

    def say(self, sentence: str, *, style: str = "") -> None:
        """One sentence, never cut or broken: a terminal wraps it, a file gets one line."""
        self._results.print(Text(readable(sentence), style=style), soft_wrap=True)

    def note(self, sentence: str) -> None:
        """One sentence beside the results, on stderr; it goes above a progress bar."""
        self._notes.print(Text(readable(sentence)), soft_wrap=True)

    def facts(self, rows: Mapping[str, object]) -> None:
        """Names and values, one a line; a value of None is left out."""
        width = max(map(len, rows))
        for name, value in rows.items():
            if value is not None:
                told = readable(str(value))
                self._results.print(Text(f"  {readable(name):<{width}}  ", style="dim").append(told, style="not dim"))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, text: int = 1) -> None:
        """A table whose first `text` columns are words, to the left, and whose others are figures, to the right."""
        from rich import box  # these take a tenth of a second, which --help need not wait for
        from rich.table import Table

        self._results.print()
        heading = Text(readable(title), style="bold")
        table = Table(title=heading, title_justify="left", box=box.ROUNDED, header_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index < text else "right", overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(readable(str(cell))) for cell in row))
        self._results.print(table)

    @contextmanager
    def progress(self) -> Iterator["OnStep"]:
        """A bar for each stage of what lasts; where stderr is no terminal, one line when a stage is done."""
        if not self._notes.is_terminal:
            log = _Log(self._notes)
            yield log
            log.flush()
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]left[/dim]"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self._notes, speed_estimate_period=SPEED_PERIOD) as bars:
            yield _Bars(bars)

    def finish(self, document: Mapping[str, Any]) -> None:
        """Print the JSON document, where one was asked for: records become objects, NaN and infinity null."""
        if self.as_json and not self._notes.quiet:
            sys.stdout.write(json.dumps(plain(document), indent=1, allow_nan=False) + "\n")


class _Bars:
    """A rich bar for each stage, the finished ones kept above."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: "Step") -> None:
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._bars.add_task(step.stage, total=step.total, loss="")
        task = self._tasks[step.stage]
        self._bars.update(task, completed=step.index, total=step.total, loss=_loss(step))


class _Log:
    """A line for each stage when the next one begins, or at the end; of a long stage, one a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._first: Step | None = None
        self._last: Step | None = None
        self._start = self._told = time.perf_counter()

    def __call__(self, step: "Step") -> None:
        if self._last is not None and self._last.stage != step.stage:
            self.flush()
        now = time.perf_counter()
        self._first, self._last = self._first or step, step
        if now - self._told > LOG_PERIOD and step.index > self._first.index:
            left = (now - self._start) * (step.total - step.index) / (step.index - self._first.index + 1)
            self._tell(now, f", about {left / 60:.0f} min left")

    def flush(self) -> None:
        """Tell of the stage that is over."""
        self._tell(time.perf_counter())
        self._first, self._last, self._start = None, None, self._told

    def _tell(self, now: float, more: str = "") -> None:
        self._told = now
        if self._last is not None:
            line = f"{self._last.stage}: {self._last.index} of {self._last.total} steps, {_loss(self._last)}"
            self._console.print(Text(f"{line.rstrip(', ')}, {now - self._start:.1f} s{more}"), soft_wrap=True)


def complain(sentence: str) -> None:
    """Tell of a failure on stderr, in one sentence."""
    _console(stderr=True).print(
        Text("error: ", style="bold red").append(readable(sentence), style="not bold default"), soft_wrap=True
    )


def readable(text: str) -> str:
    """A text, lines and all, without the control characters by which a file's names could steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def plain(value: Any) -> Any:
    """Records, paths and tensors as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def percent(share: float) -> str:
    """A share as `87.3`, in per cent; `-` where it is unknown."""
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def size(count: float) -> str:
    """A number of bytes as `3.2 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, quiet=os.environ.get("RANK", "0") != "0")
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def _loss(step: "Step") -> str:
    return "" if math.isnan(step.loss) else f"loss {step.loss:.3f}"
