"""Status of trials, from the files of their supervisors and the cloud's answers about their jobs.

`read_status` reads one trial's folder, `StatusReader` all trials of a plan.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.status_rows import Status, TrialRow
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.job import ROLES
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json_lines
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial import provenance

# The files of a trial's folder that `parse_status` needs. The result has to be read after them, as
# a trial may finish in between.
FILES = (*map(attempt.state_name, ROLES), *map(active_jobs.submission_name, ROLES))
RESULT = "result.json"

# Bytes at the end of a metrics log in which its last line is searched; a line has about 500 bytes.
TAIL = 16384

# Limits the texts that are in memory at a time.
_TRIALS_AT_A_TIME = 500


class TrialStatus(NamedTuple):
    """Status of a trial and the attempt behind it.

    Attributes:
        status: "finished" if there is a result, regardless of everything else; otherwise "running"
            if one of its jobs is running, "failed" if one has failed, "queued" if one is waiting
            for a machine in the cloud, "interrupted" if there was an attempt, else "new".
        attempt: The attempt that decides the status, the latest of several; None without attempts.
        cause: Why the trial failed, was interrupted or is waiting, in one sentence; else empty.
    """

    status: Status
    attempt: Attempt | None = None
    cause: str = ""


def read_status(folder: str | os.PathLike[str]) -> TrialStatus:
    """Return the status of the trial in a folder, which may not exist.

    Raises:
        UserError: If one of its files is broken.
    """
    folder = os.fspath(folder)
    texts = file_io.read_many(f"{folder}/{name}" for name in FILES)
    return parse_status(folder, texts, file_io.read_tail(f"{folder}/{RESULT}", 1) is not None)


def parse_status(folder: str, texts: Mapping[str, bytes | None], has_result: bool) -> TrialStatus:
    """Return the status of a trial whose files have been read already.

    Args:
        folder: The trial's folder.
        texts: The contents of its `FILES` by path; None for a missing file.
        has_result: Whether the folder contains a result.

    Raises:
        UserError: If a file is broken.
    """
    def parse_files(
        file_name: Callable[[str], str], parse: Callable[[bytes, str], Any]
    ) -> list[Any]:
        paths = [f"{folder}/{file_name(role)}" for role in ROLES]
        return [parse(text, path) for path in paths if (text := texts[path]) is not None]

    attempts = parse_files(attempt.state_name, attempt.parse_attempt)
    submissions = parse_files(active_jobs.submission_name, active_jobs.parse_submission)
    return decide_status(
        attempts, submissions, has_result, lambda each: attempt.is_running(folder, each))


def decide_status(
    attempts: Sequence[Attempt],
    submissions: Sequence[Submission],
    has_result: bool,
    is_running: Callable[[Attempt], bool],
) -> TrialStatus:
    """Return the status of a trial with these attempts and jobs.

    Args:
        attempts: The last attempt of each role, in any order.
        submissions: The last submission of each role, in any order.
        has_result: Whether the trial has a result.
        is_running: Returns whether an attempt is running.
    """
    attempts = sorted(attempts, key=lambda attempt: attempt.started, reverse=True)
    last = attempts[0] if attempts else None
    if has_result:
        return TrialStatus("finished", last)
    # The last attempt of a role may belong to an earlier job than the last submission.
    number = {job.role: job.number for job in submissions}
    current = [each for each in attempts if each.submission == number.get(each.role)]
    # A machine that was preempted could not write its state, but the cloud knows.
    ended = {job.role for job in submissions if job.has_ended}
    for each in current:
        if each.role not in ended and is_running(each):
            return TrialStatus("running", each)
    for each in current:
        if each.state == "failed":
            return TrialStatus("failed", each, each.cause or "")
    for job in submissions:
        if not job.has_ended:
            return TrialStatus("queued", last, job.message)
    started = {each.role for each in current}
    for job in submissions:
        if job.state in ("failed", "expired") and job.role not in started:
            return TrialStatus("failed", last, job.message)
    failed = [each for each in attempts if each.state == "failed"]
    if failed:
        # The retry never started, so the earlier failure stands.
        return TrialStatus("failed", failed[0], failed[0].cause or "")
    if last is None:
        return TrialStatus("new")
    messages = [job.message for job in submissions if job.role == last.role]
    return TrialStatus("interrupted", last, last.cause or "".join(messages))


class StatusReader:
    """Reads the status of all trials of a plan; finished trials are read once.

    On ``gs://`` many files are read at a time, so that a thousand trials take seconds.
    """

    def __init__(self, workdir: SweepWorkdir, plan: Plan) -> None:
        self._workdir = workdir
        self._plan = plan
        self._finished: dict[str, TrialRow] = {}

    def read_rows(self) -> list[TrialRow]:
        """Return a row for each trial, in the order of the plan."""
        unfinished = [trial for trial in self._plan.trials if trial.id not in self._finished]
        rows = {row.id: row for row in self._read(self._with_folder(unfinished))}
        return [
            rows.get(trial.id) or self._finished.get(trial.id)
            or _trial_row(trial, TrialStatus("new"), b"")
            for trial in self._plan.trials]

    def read_row(self, planned: PlannedTrial) -> TrialRow:
        """Return the row of one trial."""
        if planned.id in self._finished:
            return self._finished[planned.id]
        [row] = self._read([planned])
        return row

    def read_rows_with_code(self) -> list[TrialRow]:
        """Return the rows with `code_state`, which takes one more file per trial."""
        rows = self.read_rows()
        paths = {
            row.id: f"{self._workdir.location(row.id)}/attempts.jsonl"
            for row in rows if row.status != "new"}
        texts = file_io.read_many(paths.values())
        states = {}
        for trial, path in paths.items():
            starts = from_json_lines(texts[path], path)
            states[trial] = provenance.code_state(starts, provenance.current_code(starts))
        return [row._replace(code_state=states.get(row.id, "")) for row in rows]

    def _with_folder(self, trials: Sequence[PlannedTrial]) -> Sequence[PlannedTrial]:
        """Return the trials that have a folder, if that is faster than trying to read files."""
        folder = f"{self._workdir.path}/trials"
        if not trials or not file_io.is_remote(folder):
            return trials
        there = {entry.name for entry in file_io.list_folders([folder])[folder]}
        return [planned for planned in trials if planned.id in there]

    def _read(self, trials: Sequence[PlannedTrial]) -> Iterator[TrialRow]:
        for first in range(0, len(trials), _TRIALS_AT_A_TIME):
            some = trials[first:first + _TRIALS_AT_A_TIME]
            folders = [self._workdir.location(planned.id) for planned in some]
            texts = file_io.read_many(f"{folder}/{name}" for folder in folders for name in FILES)
            results = file_io.read_many([f"{folder}/{RESULT}" for folder in folders], 1)
            metrics = file_io.read_many([f"{folder}/metrics.jsonl" for folder in folders], TAIL)
            for planned, folder in zip(some, folders, strict=True):
                has_result = results[f"{folder}/{RESULT}"] is not None
                row = _trial_row(
                    planned, parse_status(folder, texts, has_result),
                    metrics[f"{folder}/metrics.jsonl"])
                if has_result:
                    self._finished[planned.id] = row
                yield row


def parse_last_line(tail: bytes | None) -> Mapping[str, Any]:
    """Return the last complete line in the tail of a JSON-lines file; {} without one."""
    lines = (tail or b"").split(b"\n")[:-1]
    try:
        return json.loads(lines[-1]) if lines else {}
    except ValueError:
        # Broken lines are reported by commands that read the whole file.
        return {}


def _trial_row(planned: PlannedTrial, found: TrialStatus, tail: bytes | None) -> TrialRow:
    """Return the row of a trial, given its status and the tail of its metrics log."""
    arm, seed = planned.trial.arm, planned.trial.seed
    row = TrialRow(planned.id, arm, seed, found.status, steps=planned.steps, cause=found.cause)
    if found.status == "new":
        return row
    metrics = parse_last_line(tail)
    row = row._replace(
        step=metrics.get("step", 0), loss=metrics.get("train/total_loss"),
        steps_per_second=metrics.get("train/steps_per_second"))
    last = found.attempt
    if last is None:
        # Queued for the first time, or trained without a launcher.
        return row
    log = attempt.log_name(f"trials/{planned.id}", last.role, last.number)
    now = time.time() if found.status == "running" else last.heartbeat
    return row._replace(
        attempt=last.number, seconds=(last.ended or now) - last.started, log=log)
