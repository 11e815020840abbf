"""Display the status of a sweep: a live table on a terminal, lines in a log, a plain table."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.durations import paces_of_rows, seconds_left, sweep_seconds_left
from deepmac_ablate.launch.status_rows import Pace, TrialRow, count_by_status, group_failures

_COLOURS = {
    "new": "dim", "queued": "blue", "running": "cyan", "finished": "green", "failed": "bold red",
    "interrupted": "yellow"}
# Trials that need attention come first; those that there may be hundreds of come last.
_ORDER = ("running", "failed", "interrupted", "queued", "new", "finished")

_POLL_SECONDS = 1.0
_SECONDS_BETWEEN_COUNTS = 60.0

# Longer tables list only trials that need attention.
_MOST_LINES = 200
# Number of groups of failures below the live table.
_CAUSES_SHOWN = 3
# Lines of the live table beside trials and causes: the head, the count of hidden trials, the counts
# by status, the progress, and the line of the cursor.
_OTHER_LINES = 5
# Columns of numbers are aligned to the right.
_RIGHT = ("seed", "step", "loss", "time", "left")
# Columns that a narrow terminal leaves out.
_OPTIONAL = ("time", "loss")
_SHORTEST_ARM = 10


class StatusDisplay:
    """Displays the progress of a sweep while the context lasts.

    On a terminal it is a table that fits the screen and is updated every second. Elsewhere it is
    one line for each trial whose status changes, and a line of counts every minute. A thread reads
    the rows, so the code that runs the sweep is not involved.

    Args:
        read_rows: Returns the present rows of all trials, in the order of the plan. If it raises an
            `OSError` or a `UserError`, the error is displayed and reading goes on.
        console: The console to write to.
        poll_seconds: Seconds between two calls of `read_rows`.
        known: Durations of arms of which no trial has finished, for the time left.
    """

    def __init__(
        self,
        read_rows: Callable[[], Sequence[TrialRow]],
        console: Console,
        poll_seconds: float = _POLL_SECONDS,
        known: Mapping[str, Pace] | None = None,
    ) -> None:
        self._read_rows = read_rows
        self._known = known or {}
        self._console = console
        self._poll_seconds = poll_seconds
        self._rows: Sequence[TrialRow] | None = None
        self._error = ""
        self._last_counts = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="status-display", daemon=True)
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> StatusDisplay:
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
        self._closed.set()
        self._thread.join()
        # Show the changes since the thread's last round.
        self._refresh()
        if self._live is not None:
            self._live.stop()

    def _poll(self) -> None:
        while True:
            self._refresh()
            if self._closed.wait(self._poll_seconds):
                return

    def _refresh(self) -> None:
        rows_before, error_before = self._rows, self._error
        try:
            self._rows, self._error = self._read_rows(), ""
        except (OSError, UserError) as error:
            self._error = f"Cannot read the status of the sweep: {error}"
        if self._live is not None:
            size = self._console.size
            self._live.update(
                _terminal_view(
                    self._rows or (), self._error, size.width, size.height, self._known),
                refresh=True)
            return
        if self._error and self._error != error_before:
            self._print_line(self._error)
        if self._rows is not None:
            self._print_changes(rows_before, self._rows)

    def _print_changes(self, before: Sequence[TrialRow] | None, rows: Sequence[TrialRow]) -> None:
        # The first round prints counts only, not a line for each trial.
        known = {row.id: (row.status, row.attempt) for row in (rows if before is None else before)}
        for row in rows:
            if known.get(row.id, ("new", 0)) != (row.status, row.attempt):
                self._print_line(_change_line(row))
        now = time.monotonic()
        if before is None or now - self._last_counts >= _SECONDS_BETWEEN_COUNTS:
            self._last_counts = now
            parts = _counts_text(rows).plain, _progress_text(rows, self._known).plain
            self._print_line("; ".join(filter(None, parts)))

    def _print_line(self, line: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True)


def status_table(rows: Sequence[TrialRow], known: Mapping[str, Pace] | None = None) -> str:
    """Return a plain table of trials in the order given, with the progress of all below.

    The table has no colours and no limit on its width. If there are hundreds of trials, those that
    the present code has finished are left out; `status_rows.status_summary` counts them.
    """
    notable = [row for row in rows if row.status != "finished" or row.code_state]
    shown = rows if len(rows) <= _MOST_LINES else notable
    paces = paces_of_rows(rows, known)
    lines = [line.plain.rstrip() for line in _table_lines(shown, paces)] if shown else []
    return "\n".join([*lines, _progress_text(rows, known).plain if rows else "no trials"])


def _terminal_view(
    rows: Sequence[TrialRow], error: str, width: int, height: int,
    known: Mapping[str, Pace] | None = None,
) -> Group:
    """Return a view that fits a terminal: trials, causes of failures, counts and progress."""
    causes = [
        Text(f"{len(group)} x {group[0].cause or 'unknown cause'}", "red")
        for group in group_failures(rows)[:_CAUSES_SHOWN]]
    if error:
        causes.append(Text(error, "bold red"))
    room = max(height - _OTHER_LINES - len(causes), 1)
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.status))
    shown, hidden = ordered[:room], ordered[room:]
    rest = [Text(f"and {_counts_text(hidden)}", "dim")] if hidden else []
    lines = [
        *_table_lines(shown, paces_of_rows(rows, known), width), *rest, *causes,
        _counts_text(rows), _progress_text(rows, known)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _table_lines(
    rows: Sequence[TrialRow], paces: Mapping[str, Pace], width: float = math.inf
) -> list[Text]:
    """Return a head and a line for each trial, at most `width` wide if possible.

    If the table is too wide, labels of arms are shortened, then optional columns are left out.
    rich's own tables take seconds for thousands of trials.
    """
    columns = _columns(rows, paces)
    sizes = {name: max(map(cell_len, (name, *cells))) for name, cells in columns.items()}

    def excess() -> float:
        return sum(sizes.values()) + len(sizes) - 1 - width

    for name in _OPTIONAL:
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


def _columns(rows: Sequence[TrialRow], paces: Mapping[str, Pace]) -> dict[str, list[str]]:
    """Return the cells of the table by column."""
    columns = {
        "trial": [row.id for row in rows],
        "arm": [row.arm for row in rows],
        "seed": [str(row.seed) for row in rows],
        "status": [row.status for row in rows],
        "step": [_phase_text(row) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.4g}" for row in rows],
        "time": [_duration_text(row.seconds) if row.attempt else "" for row in rows],
        "left": [_time_left_text(row, paces) for row in rows],
    }
    if any(row.code_state for row in rows):
        columns["code"] = [row.code_state for row in rows]
    if any(row.continued_from for row in rows):
        columns["continued from"] = [row.continued_from for row in rows]
    return columns


def _counts_text(rows: Sequence[TrialRow]) -> Text:
    """Return the number of trials of each status."""
    return Text(", ").join(
        Text(f"{number} {status}", _COLOURS[status])
        for status, number in count_by_status(rows).items() if number) or Text("no trials")


def _progress_text(rows: Sequence[TrialRow], known: Mapping[str, Pace] | None = None) -> Text:
    """Return the progress of all trials, and the remaining time if it can be estimated."""
    steps = sum(row.steps or 0 for row in rows)
    if rows and not steps:
        return Text()
    done = sum((row.steps or 0) if row.status == "finished" else row.step for row in rows)
    line = Text(f"{100 * done / max(steps, 1):.0f} % of all steps")
    if (left := sweep_seconds_left(rows, known)) is not None:
        line.append(f", about {_duration_text(left)} left")
    return line


def _change_line(row: TrialRow) -> str:
    """Return a log line for a trial whose status has changed."""
    line = f"{row.id} {row.arm}, seed {row.seed}: {row.status}"
    if row.attempt > 1:
        line += f", attempt {row.attempt}"
    if row.status != "finished" and row.step:
        line += f", at step {_step_text(row)}"
    if row.code_state:
        line += f", {row.code_state}"
    return f"{line}: {row.cause}" if row.cause else line


def _phase_text(row: TrialRow) -> str:
    """Return the step, or for a running trial that takes none at the moment, its activity."""
    if row.status != "running":
        return _step_text(row)
    if not row.step:
        return "starting"
    ended = row.step == row.steps
    if row.evaluating is not None:
        text = f"evaluating {row.evaluating.done} of {row.evaluating.total}"
        return text if ended else f"{_step_text(row)}, {text}"
    return "evaluating" if ended else _step_text(row)


def _step_text(row: TrialRow) -> str:
    if not row.step:
        return ""
    return f"{row.step}/{row.steps}" if row.steps else str(row.step)


def _time_left_text(row: TrialRow, paces: Mapping[str, Pace]) -> str:
    left = seconds_left(row, paces.get(row.arm))
    return _duration_text(left) if left else ""


def _duration_text(seconds: float) -> str:
    """Return a duration such as 0:07, 12:34, 5:12:34 or 3d 05h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
