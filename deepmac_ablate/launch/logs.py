"""What a trial printed, found by its id or arm, and as it grows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir

_SECONDS_BETWEEN_LOOKS = 0.5
# On ``gs://`` a log is replaced by a longer one every 15 s.
_SECONDS_BETWEEN_REMOTE_LOOKS = 5.0

# Instead of its beginning, a long log on ``gs://`` has how much of it there was.
_LEFT_OUT = re.compile(rb"\[the first (?P<bytes>[0-9]+) bytes are [^\n]*\]\n")


def lines(workdir: SweepWorkdir, wanted: str | None, follow: bool) -> Iterator[str]:
    """Yield the lines of the newest log of a trial.

    Args:
        workdir: Of the sweep.
        wanted: The trial's id, the beginning of it, or its arm's label; None: the trial that wrote
            last.
        follow: Whether to go on until the trial has ended.

    Raises:
        UserError: If there is no such trial, or it has printed nothing.
    """
    if wanted is None:
        plan = workdir.read_plan()
        log = _newest([workdir.location(it.id) for it in plan.trials])
        if log is None:
            raise UserError(f"No trial in {workdir.path} has printed anything yet.")
    else:
        folder = _folder(workdir, wanted)
        log = _newest([folder])
        if log is None:
            raise UserError(f"The trial {folder.rpartition('/')[2]} has printed nothing yet.")
    folder = log.removesuffix(f"/logs/{log.rpartition('/')[2]}")
    yield f"==> {log} <==\n"
    remote = storage.is_remote(log)
    new = _replaced(log) if remote else _appended(log)
    while True:
        # Asked before reading, so that the last lines are not missed.
        runs = follow and trial_status.of_folder(folder).status == "running"
        yield from next(new)
        if not runs:
            return
        time.sleep(_SECONDS_BETWEEN_REMOTE_LOOKS if remote else _SECONDS_BETWEEN_LOOKS)


def _appended(log: str) -> Iterator[Iterator[str]]:
    """Yield again and again what is new in a file on a disk."""
    with Path(log).open(errors="replace") as file:
        while True:
            yield iter(file)


def _replaced(log: str) -> Iterator[Sequence[str]]:
    """Yield again and again what is new in an object that is replaced."""
    shown = 0
    while True:
        text = storage.read(log) or b""
        first = 0
        if match := _LEFT_OUT.match(text):
            first, text = int(match["bytes"]), text[match.end():]
        new = text[max(0, shown - first):]
        if first > shown:
            new = match[0] + new
        shown = max(shown, first + len(text))
        yield new.decode(errors="replace").splitlines(keepends=True)


def _newest(folders: Sequence[str]) -> str | None:
    """Return the log of some trials that was written last; None where there is none."""
    logs = [
        (entry.changed, f"{folder}/{entry.name}")
        for folder, entries in storage.list_folders(f"{it}/logs" for it in folders).items()
        for entry in entries if entry.name.endswith(".log")]
    return max(logs)[1] if logs else None


def _folder(workdir: SweepWorkdir, wanted: str) -> str:
    plan = workdir.read_plan()
    found = [it for it in plan.trials if it.id.startswith(wanted) or it.trial.arm == wanted]
    if not found:
        hint = did_you_mean(wanted, [*plan.arms, *(it.id for it in plan.trials)])
        raise UserError(f"There is no trial {wanted!r} in {workdir.path}.{hint}")
    if len(found) > 1:
        some = ", ".join(f"{it.id} ({it.trial.arm}, seed {it.trial.seed})" for it in found[:6])
        raise UserError(f"{wanted!r} is several trials: {some}; name one by its id.")
    return workdir.location(found[0].id)
