"""Find the log of a trial by its id or arm, and read it as it grows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from etils import epath

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import disk, file_io

_POLL_SECONDS = 0.5
# On ``gs://`` a worker replaces the log by a longer one every 15 s.
_REMOTE_POLL_SECONDS = 5.0

_LOG = re.compile(r"(?P<start>.*)-(?P<number>[0-9]+)\.log")

# A long log on ``gs://`` starts with this line in place of its first bytes.
_LEFT_OUT = re.compile(rb"\[the first (?P<bytes>[0-9]+) bytes are [^\n]*\]\n")


def read_log_lines(workdir: SweepWorkdir, wanted: str | None, follow: bool) -> Iterator[str]:
    """Yield the lines of the newest log of a trial.

    Args:
        workdir: The workdir of the sweep.
        wanted: The trial's id, the beginning of the id, or the label of its arm; None for the trial
            whose log was written last.
        follow: Whether to go on until the trial has ended.

    Raises:
        UserError: If no trial or more than one matches, or the trial has no log yet.
    """
    if wanted is None:
        plan = workdir.read_plan()
        log = _find_newest_log([workdir.location(planned.id) for planned in plan.trials])
        if log is None:
            raise UserError(f"No trial in {workdir.path} has written a log yet.")
    else:
        folder = _find_folder(workdir, wanted)
        log = _find_newest_log([folder])
        if log is None:
            raise UserError(f"Trial {folder.rpartition('/')[2]} has not written a log yet.")
    yield from _read_attempt(log, follow)
    while follow and (log := _next_log(log)):
        yield from _read_attempt(log, follow)


def _read_attempt(log: str, follow: bool) -> Iterator[str]:
    """Yield the lines of one log until its trial has ended or has begun the next one."""
    folder = log.removesuffix(f"/logs/{log.rpartition('/')[2]}")
    yield f"==> {log} <==\n"
    remote = file_io.is_remote(log)
    new_lines = _read_object(log) if remote else _read_file(log)
    while True:
        # The status is read before the log, so that the last lines are not missed. A job that was
        # interrupted waits for its next start.
        goes_on = (follow and not _next_log(log)
                   and trial_status.read_status(folder).status in ("running", "queued"))
        yield from next(new_lines)
        if not goes_on:
            return
        time.sleep(_REMOTE_POLL_SECONDS if remote else _POLL_SECONDS)


def _next_log(log: str) -> str:
    """Return the log of the next attempt; empty if there is none yet."""
    match = _LOG.fullmatch(log)
    following = f"{match['start']}-{int(match['number']) + 1}.log" if match else ""
    return following if match and epath.Path(following).exists() else ""


def _read_file(log: str) -> Iterator[Iterator[str]]:
    """Yield, again and again, the new lines of a file on a disk."""
    with disk.translating_errors(log), Path(log).open(errors="replace") as file:
        while True:
            yield iter(file)


def _read_object(log: str) -> Iterator[Sequence[str]]:
    """Yield, again and again, the new lines of an object that is replaced as it grows."""
    shown = 0
    while True:
        text = file_io.read(log) or b""
        first = 0
        if match := _LEFT_OUT.match(text):
            first, text = int(match["bytes"]), text[match.end():]
        new = text[max(0, shown - first):]
        if first > shown:
            new = match[0] + new
        shown = max(shown, first + len(text))
        yield new.decode(errors="replace").splitlines(keepends=True)


def _find_newest_log(folders: Sequence[str]) -> str | None:
    """Return the log in some trials' folders that was written last; None if there is none."""
    unreadable: dict[str, str] = {}
    entries = file_io.list_folders((f"{folder}/logs" for folder in folders), unreadable)
    logs = [
        (entry.changed, f"{folder}/{entry.name}")
        for folder, files in entries.items() for entry in files
        if entry.name.endswith(".log") and not entry.is_folder]
    if unreadable and not logs:
        raise UserError(next(iter(unreadable.values())))
    return max(logs)[1] if logs else None


def _find_folder(workdir: SweepWorkdir, wanted: str) -> str:
    plan = workdir.read_plan()
    matches = [
        planned for planned in plan.trials
        if planned.id.startswith(wanted) or planned.trial.arm == wanted]
    if not matches:
        hint = did_you_mean(wanted, [*plan.arms, *(planned.id for planned in plan.trials)])
        raise UserError(f"No trial in {workdir.path} has the id or arm {wanted!r}.{hint}")
    if len(matches) > 1:
        some = ", ".join(
            f"{planned.id} ({planned.trial.arm}, seed {planned.trial.seed})"
            for planned in matches[:6])
        raise UserError(f"{wanted!r} matches {len(matches)} trials: {some}. Pass one of the ids.")
    return workdir.location(matches[0].id)
