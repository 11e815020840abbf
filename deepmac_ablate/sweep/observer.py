"""What has become of the trials of a plan, read from their folders."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmac_ablate import provenance
from deepmac_ablate.sweep import attempt
from deepmac_ablate.sweep.attempt import Attempt, Status
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.rows import TrialRow
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

# The end of a file in which its last line is looked for; a line of metrics has some 500 bytes.
_TAIL = 65536


class Observer:
    """Reads the trials of a plan; what is finished, only once."""

    def __init__(self, workdir: SweepWorkdir, plan: Plan) -> None:
        self._workdir = workdir
        self._plan = plan
        self._finished: dict[str, TrialRow] = {}

    def rows(self) -> list[TrialRow]:
        """Returns a row for each trial, in the order of the plan."""
        return [self.row(planned) for planned in self._plan.trials]

    def row(self, planned: PlannedTrial) -> TrialRow:
        """Returns the row of a trial."""
        if planned.id in self._finished:
            return self._finished[planned.id]
        folder = self._workdir.folder(planned.id)
        status, last = attempt.status(folder)
        row = _row(planned, status, last, folder)
        if status == "finished":
            self._finished[planned.id] = row
        return row

    def with_code(self) -> list[TrialRow]:
        """Returns the rows with what is to be said of the code that made them."""
        return [
            row._replace(code_state=self._code_state(planned))
            for planned, row in zip(self._plan.trials, self.rows(), strict=True)
        ]

    def _code_state(self, planned: PlannedTrial) -> provenance.CodeState:
        attempts = self._workdir.trial(planned.id).read_attempts()
        return provenance.code_state(attempts, provenance.current_code(attempts))


def last_line(path: Path) -> Mapping[str, Any]:
    """Returns the last whole line of a JSON-lines file; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1]) if lines else {}
    except (FileNotFoundError, ValueError):
        # A line that is broken is reported by whoever reads them all.
        return {}


def _row(planned: PlannedTrial, status: Status, last: Attempt | None, folder: Path) -> TrialRow:
    arm, seed = planned.trial.arm, planned.trial.seed
    row = TrialRow(planned.id, arm, seed, status, steps=planned.steps)
    if status == "new":
        return row
    metrics = last_line(folder / "metrics.jsonl")
    row = row._replace(
        step=metrics.get("step", 0), loss=metrics.get("train/total_loss"),
        steps_per_second=metrics.get("train/steps_per_second"))
    if last is None:
        # Trained without a launcher, and put here.
        return row
    log = attempt.log_path(Path("trials", planned.id), last.role, last.number)
    return row._replace(
        attempt=last.number, seconds=(last.ended or time.time()) - last.started,
        cause="" if status == "finished" else last.cause or "", log=str(log))
