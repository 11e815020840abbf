"""What the end of a trial's command means, and the one sentence that a person needs about it."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from pathlib import Path
from typing import Literal

from deepmac_ablate.errors import DIVERGED, FINISHED, INTERRUPTED, USER_ERROR

_LONGEST_CAUSE = 300
# Of a log's end; a traceback of TensorFlow's takes some 20 kB.
_BYTES_READ = 1 << 16

_TRACEBACK = "Traceback (most recent call last):"
_GRAPH_ERROR = re.compile(r"[\w.]*\b(?P<name>\w+): Graph execution error:")
# The program's own sentences, and argparse's.
_SAID = re.compile(r"deepmac-ablate(?: [\w-]+)*: (?:error: )?(?P<sentence>.+)")


@dataclasses.dataclass(frozen=True)
class Stop:
    """Why a supervisor ended a command.

    Attributes:
        state: What the attempt is then, unless the command finished all the same.
        cause: In one sentence.
    """

    state: Literal["interrupted", "failed"]
    cause: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `state` and `cause` as those of `attempt.Attempt`."""

    state: Literal["finished", "failed", "interrupted"]
    cause: str | None


def judge(code: int, stop: Stop | None, log: Path) -> Outcome:
    """Say what the end of a command means.

    Args:
        code: The command's exit status; -n where signal n killed it.
        stop: Why the supervisor ended it; None where it ended by itself.
        log: The file of its output, which may be missing or unreadable.
    """
    if code == FINISHED:
        return Outcome("finished", None)
    if stop is not None and (stop.state == "failed" or code not in (USER_ERROR, DIVERGED)):
        killed = "; it did not end when asked and was killed" if code == -signal.SIGKILL else ""
        return Outcome(stop.state, _short(stop.cause + killed))
    lines = _last_lines(log)
    if code < 0:
        return Outcome("failed", _short(_killed_by(-code, lines)))
    state = "interrupted" if code == INTERRUPTED else "failed"
    return Outcome(state, _short(_said(lines) or f"exit status {code}{_end(lines)}"))


def status_of_supervisor(outcome: Outcome, code: int | None) -> int:
    """Return the supervisor's own exit status; `code` is the command's, if it was started."""
    if outcome.state == "finished":
        return FINISHED
    if outcome.state == "interrupted":
        return INTERRUPTED
    return code if code is not None and code > 0 and code != INTERRUPTED else 1


def _last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that are not empty; a progress bar's are lines too."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BYTES_READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _said(lines: list[str]) -> str | None:
    """Return the last sentence of the program's own, or the last exception of a traceback."""
    sentence, in_traceback = None, False
    for number, line in enumerate(lines):
        if match := _SAID.fullmatch(line):
            sentence, in_traceback = match["sentence"], False
        elif line == _TRACEBACK:
            in_traceback = True
        elif in_traceback and not line.startswith(" "):
            sentence, in_traceback = _exception(line, lines[number + 1:]), False
    return sentence


def _exception(line: str, after: list[str]) -> str:
    """Return what an exception says; TensorFlow's says it below a traceback of its own."""
    if match := _GRAPH_ERROR.fullmatch(line):
        for below in after:
            if not below.startswith((" ", "\t", "Detected at node")):
                return f"{match['name']}: {below}"
    return line


def _killed_by(number: int, lines: list[str]) -> str:
    if number == signal.SIGKILL:
        # The kernel's out-of-memory killer leaves no word in the log.
        return "killed by SIGKILL (out of memory?)"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}{_end(lines)}"


def _end(lines: list[str]) -> str:
    return f"; its log ends with: {lines[-1].strip()}" if lines else ""


def _short(cause: str) -> str:
    return cause if len(cause) <= _LONGEST_CAUSE else f"{cause[:_LONGEST_CAUSE - 3]}..."
