"""What a trial printed, found by its id or arm, and as it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.sweep import attempt
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

_SECONDS_BETWEEN_LOOKS = 0.5


def lines(workdir: SweepWorkdir, wanted: str | None, follow: bool) -> Iterator[str]:
    """Yields the lines of the newest log of a trial.

    Args:
        workdir: Of the sweep.
        wanted: The trial's id, the beginning of it, or its arm's label; None: the trial that wrote
            last.
        follow: Whether to go on until the trial has ended.

    Raises:
        UserError: If there is no such trial, or it has printed nothing.
    """
    folder = _folder(workdir, wanted)
    logs = sorted(folder.glob("logs/*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise UserError(f"The trial {folder.name} has printed nothing yet.")
    yield f"==> {logs[-1]} <==\n"
    with logs[-1].open(errors="replace") as file:
        while True:
            # Asked before reading, so that the last lines are not missed.
            runs = follow and attempt.status(folder)[0] == "running"
            yield from file
            if not runs:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _folder(workdir: SweepWorkdir, wanted: str | None) -> Path:
    plan = workdir.read_plan()
    folders = {it.id: workdir.folder(it.id) for it in plan.trials}
    if wanted is None:
        written = [path for folder in folders.values() for path in folder.glob("logs/*.log")]
        if not written:
            raise UserError(f"No trial in {workdir.path} has printed anything yet.")
        return max(written, key=lambda path: path.stat().st_mtime).parents[1]
    found = [it for it in plan.trials if it.id.startswith(wanted) or it.trial.arm == wanted]
    if not found:
        hint = did_you_mean(wanted, [*plan.arms, *folders])
        raise UserError(f"There is no trial {wanted!r} in {workdir.path}.{hint}")
    if len(found) > 1:
        some = ", ".join(f"{it.id} ({it.trial.arm}, seed {it.trial.seed})" for it in found[:6])
        raise UserError(f"{wanted!r} is several trials: {some}; name one by its id.")
    return folders[found[0].id]
