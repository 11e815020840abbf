"""Outcome of a trial's command, with a one-sentence cause for people."""

from __future__ import annotations

import dataclasses
import re
import signal
from typing import Literal

from deepmac_ablate.errors import (
    DIVERGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    USER_ERROR,
    WORKER_LOST,
)

_MAX_CAUSE_LENGTH = 300
_NO_SPACE = re.compile("No space left on device|Disk quota exceeded")
_TRACEBACK = "Traceback (most recent call last):"
_GRAPH_ERROR = re.compile(r"[\w.]*\b(?P<name>\w+): Graph execution error:")
_IN_USER_CODE = "Error: in user code:"
# Error messages of this program, and those of argparse.
_PROGRAM_MESSAGE = re.compile(r"deepmac-ablate(?: [\w-]+)*: (?:error: )?(?P<sentence>.+)")


@dataclasses.dataclass(frozen=True)
class StopReason:
    """Reason for which a supervisor ended a command.

    Attributes:
        state: State of the attempt, unless the command finished all the same.
        cause: Reason in one sentence.
    """

    state: Literal["interrupted", "failed"]
    cause: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Final state and cause of an attempt, as in `attempt.Attempt`."""

    state: Literal["finished", "failed", "interrupted"]
    cause: str | None


def decide_outcome(code: int, stop: StopReason | None, output: str) -> Outcome:
    """Return the outcome of a command that has ended.

    A command that fails on a full disk, or has lost another machine, is interrupted: launching
    resumes it.

    Args:
        code: Exit status of the command; -n if signal n killed it.
        stop: Reason for which the supervisor ended it; None if it ended by itself.
        output: The end of its output.
    """
    if code == FINISHED:
        return Outcome("finished", None)
    if stop is not None and (stop.state == "failed" or code not in (USER_ERROR, DIVERGED)):
        killed = "; it ignored SIGTERM and was killed" if code == -signal.SIGKILL else ""
        return Outcome(stop.state, _shorten(stop.cause + killed))
    # Each update of a progress bar is a line.
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    if code < 0:
        return Outcome("failed", _shorten(_describe_kill(-code, lines)))
    cause = _last_error(lines) or f"exit status {code}{_log_ending(lines)}"
    is_interrupted = code in (INTERRUPTED, WORKER_LOST) or _NO_SPACE.search(cause)
    return Outcome("interrupted" if is_interrupted else "failed", _shorten(cause))


def supervisor_exit_status(outcome: Outcome, code: int | None) -> int:
    """Return the exit status of the supervisor.

    Args:
        outcome: Outcome of the attempt.
        code: Exit status of the command; None if it was not started.
    """
    if outcome.state == "finished":
        return FINISHED
    if code == WORKER_LOST:
        # A cluster counts it, so that a machine that fails each time is not started for ever.
        return FAILED
    if outcome.state == "interrupted":
        return INTERRUPTED
    return code if code is not None and code > 0 and code != INTERRUPTED else 1


def _last_error(lines: list[str]) -> str | None:
    """Return the last error message of this program or the last exception of a traceback."""
    sentence, in_traceback = None, False
    for number, line in enumerate(lines):
        if match := _PROGRAM_MESSAGE.fullmatch(line):
            sentence, in_traceback = match["sentence"], False
        elif line == _TRACEBACK:
            in_traceback = True
        elif in_traceback and not line.startswith(" "):
            sentence, in_traceback = _exception_message(line, lines[number + 1:]), False
    return sentence


def _exception_message(line: str, after: list[str]) -> str:
    """Return the message of an exception; TensorFlow prints it below a traceback of its own."""
    if line.endswith(_IN_USER_CODE):
        # The traceback of a function that is traced is indented, and its last line the exception.
        inside = [below.strip() for below in after if re.match(" {4}(?! |File )", below)]
        return inside[-1] if inside else line
    if match := _GRAPH_ERROR.fullmatch(line):
        for below in after:
            if not below.startswith((" ", "\t", "Detected at node")):
                return f"{match['name']}: {below}"
    return line


def _describe_kill(number: int, lines: list[str]) -> str:
    if number == signal.SIGKILL:
        # The out-of-memory killer of the kernel leaves no message in the log.
        return "killed by SIGKILL (out of memory?)"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}{_log_ending(lines)}"


def _log_ending(lines: list[str]) -> str:
    return f"; last line of the log: {lines[-1].strip()}" if lines else ""


def _shorten(cause: str) -> str:
    if len(cause) <= _MAX_CAUSE_LENGTH:
        return cause
    return f"{cause[:_MAX_CAUSE_LENGTH - 3]}..."
