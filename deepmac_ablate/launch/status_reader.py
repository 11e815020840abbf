"""What has become of the trials of a plan, read from their folders."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate import storage
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import Standing
from deepmac_ablate.storage.strict_json import from_json_lines
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial import provenance

# The end of a file in which its last line is looked for; a line of metrics has some 500 bytes.
TAIL = 16384

# What is in memory at a time.
_TRIALS_AT_A_TIME = 500


class Observer:
    """Reads the trials of a plan; what is finished, only once.

    On ``gs://`` it reads many files at a time, so that a thousand trials take seconds.
    """

    def __init__(self, workdir: SweepWorkdir, plan: Plan) -> None:
        self._workdir = workdir
        self._plan = plan
        self._finished: dict[str, TrialRow] = {}

    def rows(self) -> list[TrialRow]:
        """Return a row for each trial, in the order of the plan."""
        left = [it for it in self._plan.trials if it.id not in self._finished]
        started = self._started(left)
        read = {row.id: row for row in self._read(started)}
        return [
            read.get(it.id) or self._finished.get(it.id) or _row(it, Standing("new"), b"")
            for it in self._plan.trials]

    def row(self, planned: PlannedTrial) -> TrialRow:
        """Return the row of a trial."""
        if planned.id in self._finished:
            return self._finished[planned.id]
        [row] = self._read([planned])
        return row

    def with_code(self) -> list[TrialRow]:
        """Return the rows with what is to be said of the code that made them."""
        rows = self.rows()
        paths = {
            row.id: f"{self._workdir.location(row.id)}/attempts.jsonl"
            for row in rows if row.status != "new"}
        texts = storage.read_many(paths.values())
        states = {}
        for trial, path in paths.items():
            starts = from_json_lines(texts[path], path)
            states[trial] = provenance.code_state(starts, provenance.current_code(starts))
        return [row._replace(code_state=states.get(row.id, "")) for row in rows]

    def _started(self, trials: Sequence[PlannedTrial]) -> Sequence[PlannedTrial]:
        """Leave out trials without a folder, where asking for each of its files takes long."""
        folder = f"{self._workdir.path}/trials"
        if not trials or not storage.is_remote(folder):
            return trials
        there = {entry.name for entry in storage.list_folders([folder])[folder]}
        return [planned for planned in trials if planned.id in there]

    def _read(self, trials: Sequence[PlannedTrial]) -> Iterator[TrialRow]:
        for first in range(0, len(trials), _TRIALS_AT_A_TIME):
            some = trials[first:first + _TRIALS_AT_A_TIME]
            folders = [self._workdir.location(planned.id) for planned in some]
            texts = storage.read_many(
                f"{folder}/{name}" for folder in folders for name in trial_status.FILES)
            results = storage.read_many([f"{it}/{trial_status.RESULT}" for it in folders], 1)
            metrics = storage.read_many([f"{it}/metrics.jsonl" for it in folders], TAIL)
            for planned, folder in zip(some, folders, strict=True):
                has_result = results[f"{folder}/{trial_status.RESULT}"] is not None
                row = _row(
                    planned, trial_status.of_texts(folder, texts, has_result),
                    metrics[f"{folder}/metrics.jsonl"])
                if has_result:
                    self._finished[planned.id] = row
                yield row


def last_line(tail: bytes | None) -> Mapping[str, Any]:
    """Return the last whole line in the end of a JSON-lines file; nothing where there is none."""
    lines = (tail or b"").split(b"\n")[:-1]
    try:
        return json.loads(lines[-1]) if lines else {}
    except ValueError:
        # A line that is broken is reported by whoever reads them all.
        return {}


def _row(planned: PlannedTrial, found: Standing, metrics: bytes | None) -> TrialRow:
    arm, seed = planned.trial.arm, planned.trial.seed
    row = TrialRow(planned.id, arm, seed, found.status, steps=planned.steps, cause=found.cause)
    if found.status == "new":
        return row
    noted = last_line(metrics)
    row = row._replace(
        step=noted.get("step", 0), loss=noted.get("train/total_loss"),
        steps_per_second=noted.get("train/steps_per_second"))
    last = found.attempt
    if last is None:
        # Queued for the first time, or trained without a launcher and put here.
        return row
    log = attempt.log_name(f"trials/{planned.id}", last.role, last.number)
    now = time.time() if found.status == "running" else last.heartbeat
    return row._replace(
        attempt=last.number, seconds=(last.ended or now) - last.started, log=log)
