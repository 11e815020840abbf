"""What a person sees of a sweep: a live table on a terminal, lines in a log, a table for a look."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.status_rows import (
    TrialRow,
    counts,
    digest,
    failures,
    seconds_left,
    sweep_seconds_left,
)

__all__ = ["Board", "TrialRow", "digest", "table_text"]

_COLOURS = {
    "new": "dim", "queued": "blue", "running": "cyan", "finished": "green", "failed": "bold red",
    "interrupted": "yellow"}
# Who needs a look comes first, and what there may be hundreds of comes last.
_ORDER = ("running", "failed", "interrupted", "queued", "new", "finished")

_SECONDS_BETWEEN_READINGS = 1.0
_SECONDS_BETWEEN_COUNTS = 60.0

# A table of more is not read to the end.
_MOST_LINES = 200
# Of the failures below the table, the largest groups.
_CAUSES_SHOWN = 3
# The table's head, what is not shown, counts, outlook, and the line of the cursor.
_LINES_BESIDE = 5
# Columns of numbers.
_RIGHT = ("seed", "step", "loss", "time", "left")
# What a narrow terminal can do without.
_DISPENSABLE = ("time", "loss")
_SHORTEST_ARM = 10


class Board:
    """Shows how a sweep is getting on, while the context lasts.

    On a terminal it is a table that fits it, brought up to date every second. Elsewhere it is one
    line for each trial whose status changes, and one of counts every minute. A thread of its own
    reads, so that whoever runs the sweep need not think of it.

    Args:
        rows_of: Returns all trials of the sweep as they are now, in the order of the plan. Where it
            raises an `OSError` or a `UserError`, that is shown in place of the news, and it is
            asked again.
        console: Where to show it.
        seconds: Between two readings.
    """

    def __init__(
        self,
        rows_of: Callable[[], Sequence[TrialRow]],
        console: Console,
        seconds: float = _SECONDS_BETWEEN_READINGS,
    ) -> None:
        self._rows_of = rows_of
        self._console = console
        self._seconds = seconds
        self._rows: Sequence[TrialRow] | None = None
        self._trouble = ""
        self._last_counts = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="board", daemon=True)
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        # What changed since the last reading.
        self._refresh()
        if self._live is not None:
            self._live.stop()

    def _follow(self) -> None:
        while True:
            self._refresh()
            if self._ended.wait(self._seconds):
                return

    def _refresh(self) -> None:
        before, trouble_before = self._rows, self._trouble
        try:
            self._rows, self._trouble = self._rows_of(), ""
        except (OSError, UserError) as error:
            self._trouble = f"Cannot read how the sweep is getting on: {error}"
        if self._live is not None:
            size = self._console.size
            self._live.update(
                _board(self._rows or (), self._trouble, size.width, size.height), refresh=True)
            return
        if self._trouble and self._trouble != trouble_before:
            self._say(self._trouble)
        if self._rows is not None:
            self._log(before, self._rows)

    def _log(self, before: Sequence[TrialRow] | None, rows: Sequence[TrialRow]) -> None:
        # Of what was so when the display began, the counts say enough.
        known = {row.id: (row.status, row.attempt) for row in (rows if before is None else before)}
        for row in rows:
            if known.get(row.id, ("new", 0)) != (row.status, row.attempt):
                self._say(_news(row))
        now = time.monotonic()
        if before is None or now - self._last_counts >= _SECONDS_BETWEEN_COUNTS:
            self._last_counts = now
            self._say(f"{_counts(rows)}; {_outlook(rows)}")

    def _say(self, line: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True)


def table_text(rows: Sequence[TrialRow]) -> str:
    """Return a table of trials in the order given, a line each, and the counts below it.

    It has no colours and is as wide as it needs to be. Of hundreds of trials, those that are
    finished by the present code are counted only.
    """
    of_note = [row for row in rows if row.status != "finished" or row.code_state]
    shown = rows if len(rows) <= _MOST_LINES else of_note
    lines = [line.plain.rstrip() for line in _table(shown)] if shown else []
    return "\n".join([*lines, f"{_counts(rows)}; {_outlook(rows)}"])


def _board(rows: Sequence[TrialRow], trouble: str, width: int, height: int) -> Group:
    """Return what fits a terminal: trials that need a look, causes of failures, counts."""
    causes = [
        Text(f"{len(group)} x {group[0].cause or 'no cause is known'}", "red")
        for group in failures(rows)[:_CAUSES_SHOWN]]
    if trouble:
        causes.append(Text(trouble, "bold red"))
    room = max(height - _LINES_BESIDE - len(causes), 1)
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.status))
    shown, folded = ordered[:room], ordered[room:]
    rest = [Text(f"and {_counts(folded)}", "dim")] if folded else []
    lines = [*_table(shown, width), *rest, *causes, _counts(rows), _outlook(rows)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _table(rows: Sequence[TrialRow], width: float = math.inf) -> list[Text]:
    """Return a head and a line for each trial, not wider than `width` if that can be.

    Where it is too wide, arms' labels give way, then columns that can be done without. By hand, as
    rich takes seconds to lay out thousands of trials.
    """
    columns = _columns(rows)
    sizes = {name: max(map(cell_len, (name, *cells))) for name, cells in columns.items()}

    def excess() -> float:
        return sum(sizes.values()) + len(sizes) - 1 - width

    for name in _DISPENSABLE:
        if excess() > max(sizes["arm"] - _SHORTEST_ARM, 0):
            del columns[name], sizes[name]
    sizes["arm"] -= int(min(max(excess(), 0), max(sizes["arm"] - _SHORTEST_ARM, 0)))
    lines = []
    for line in (columns, *zip(*columns.values(), strict=True)):
        row = []
        for name, cell in zip(columns, line, strict=True):
            text = Text(cell, _COLOURS.get(cell, "") if name == "status" else "")
            text.truncate(sizes[name], overflow="ellipsis")
            text.align("right" if name in _RIGHT else "left", sizes[name])
            row.append(text)
        lines.append(Text(" ").join(row))
    lines[0].stylize("bold")
    return lines


def _columns(rows: Sequence[TrialRow]) -> dict[str, list[str]]:
    """Return what is shown of each trial, by the heads of the columns."""
    columns = {
        "trial": [row.id for row in rows],
        "arm": [row.arm for row in rows],
        "seed": [str(row.seed) for row in rows],
        "status": [row.status for row in rows],
        "step": [_steps(row) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.4g}" for row in rows],
        "time": [_duration(row.seconds) if row.attempt else "" for row in rows],
        "left": [_left(row) for row in rows],
    }
    if any(row.code_state for row in rows):
        columns["code"] = [row.code_state for row in rows]
    return columns


def _counts(rows: Sequence[TrialRow]) -> Text:
    """Return how many trials are in which state."""
    return Text(", ").join(
        Text(f"{number} {status}", _COLOURS[status])
        for status, number in counts(rows).items() if number) or Text("no trials")


def _outlook(rows: Sequence[TrialRow]) -> Text:
    """Return how far all trials are, and how long it takes yet where that can be told."""
    steps = sum(row.steps or 0 for row in rows)
    done = sum((row.steps or 0) if row.status == "finished" else row.step for row in rows)
    line = Text(f"{100 * done / max(steps, 1):.0f} % of all steps")
    if (left := sweep_seconds_left(rows)) is not None:
        line.append(f", about {_duration(left)} left")
    return line


def _news(row: TrialRow) -> str:
    """Return the line of a log for a trial whose status has changed."""
    line = f"{row.id} {row.arm}, seed {row.seed}: {row.status}"
    if row.attempt > 1:
        line += f", attempt {row.attempt}"
    if row.status != "finished" and row.step:
        line += f", at step {_steps(row)}"
    if row.code_state:
        line += f", {row.code_state}"
    return f"{line}: {row.cause}" if row.cause else line


def _steps(row: TrialRow) -> str:
    if not row.step:
        return ""
    return f"{row.step}/{row.steps}" if row.steps else str(row.step)


def _left(row: TrialRow) -> str:
    left = seconds_left(row)
    if left is None:
        return ""
    return _duration(left) if left else "evaluates"


def _duration(seconds: float) -> str:
    """Return 0:07, 12:34, 5:12:34 or 3d 05h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
