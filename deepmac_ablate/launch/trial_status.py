"""Status of trials, from the files of their supervisors and the cloud's answers about their jobs.

`read_status` reads one trial's folder, `StatusReader` all trials of a plan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.durations import measured_pace
from deepmac_ablate.launch.status_rows import Evaluating, Status, TrialRow
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.job import ROLES
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.metrics_log import parse_last_line
from deepmac_ablate.trial.trial_files import PROGRESS, parse_progress, parse_result, parse_starts

RESULT = "result.json"
# The files of a trial's folder that `parse_status` needs.
FILES = (*map(attempt.state_name, ROLES), *map(active_jobs.submission_name, ROLES), RESULT)

# Bytes at the end of a metrics log in which its last line is searched; a line has about 500 bytes.
TAIL = 16384

# Limits the texts that are in memory at a time.
_TRIALS_AT_A_TIME = 500


class TrialStatus(NamedTuple):
    """Status of a trial and the attempt behind it.

    Attributes:
        status: "finished" if there is a valid result, regardless of everything else; otherwise
            "running" if one of its jobs is running, "failed" if one has failed or a file cannot be
            read, "queued" if one is waiting for a machine in the cloud, "interrupted" if there was
            an attempt or a broken result, else "new".
        attempt: The attempt that decides the status, the latest of several; None without attempts.
        cause: Why the trial failed, was interrupted or is waiting, in one sentence; else empty.
        broken: A sentence about a file that is broken or cannot be read; else empty.
    """

    status: Status
    attempt: Attempt | None = None
    cause: str = ""
    broken: str = ""


def read_status(folder: str | os.PathLike[str]) -> TrialStatus:
    """Return the status of the trial in a folder, which may not exist."""
    folder = os.fspath(folder)
    unreadable: dict[str, str] = {}
    return parse_status(folder, read_files([folder], FILES, unreadable), unreadable)


def read_files(
    folders: Sequence[str], names: Sequence[str], unreadable: dict[str, str] | None
) -> dict[str, bytes | None]:
    """Return files of trials by path, the results last; see `file_io.read_many`.

    A trial that finishes meanwhile thus counts as finished.
    """
    others = [f"{folder}/{name}" for folder in folders for name in names if name != RESULT]
    texts = file_io.read_many(others, unreadable=unreadable)
    return texts | file_io.read_many(
        [f"{folder}/{RESULT}" for folder in folders], unreadable=unreadable)


def parse_status(
    folder: str, texts: Mapping[str, bytes | None], unreadable: Mapping[str, str]
) -> TrialStatus:
    """Return the status of a trial whose files have been read already.

    This alone decides whether a trial is finished.

    Args:
        folder: The trial's folder.
        texts: The contents of its `FILES` by path; None for a missing file.
        unreadable: Sentences about files that cannot be read, by path.
    """
    broken = [unreadable[path] for name in FILES if (path := f"{folder}/{name}") in unreadable]
    status: Status | None = "failed" if broken else None

    def parse_file(name: str, parse: Callable[[bytes, str], Any], then: Status) -> list[Any]:
        nonlocal status
        path = f"{folder}/{name}"
        try:
            return [] if texts[path] is None else [parse(texts[path], path)]
        except UserError as error:
            broken.append(str(error))
            status = status or then
            return []

    # A new attempt replaces broken results and states. The job of a broken submission may run.
    has_result = bool(parse_file(RESULT, parse_result, "interrupted"))
    attempts = [
        each for role in ROLES
        for each in parse_file(attempt.state_name(role), attempt.parse_attempt, "interrupted")]
    submissions = [
        each for role in ROLES for each in parse_file(
            active_jobs.submission_name(role), active_jobs.parse_submission, "failed")]
    found = decide_status(
        attempts, submissions, has_result, lambda each: attempt.is_running(folder, each))
    if status and found.status not in ("finished", "running", "queued"):
        found = found._replace(status=status, cause=broken[0])
    return found._replace(broken=" ".join(broken))


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
            or TrialRow(trial.id, trial.trial.arm, trial.trial.seed, "new", steps=trial.steps)
            for trial in self._plan.trials]

    def read_row(self, planned: PlannedTrial) -> TrialRow:
        """Return the row of one trial.

        Raises:
            StorageError: If one of its files cannot be read at the moment.
        """
        if planned.id in self._finished:
            return self._finished[planned.id]
        [row] = self._read([planned], strict=True)
        return row

    def read_rows_with_code(self) -> list[TrialRow]:
        """Return the rows with what attempts.jsonl tells: `code_state` and `continued_from`."""
        rows = self.read_rows()
        paths = {
            row.id: f"{self._workdir.location(row.id)}/attempts.jsonl"
            for row in rows if row.status != "new"}
        unreadable: dict[str, str] = {}
        texts = file_io.read_many(paths.values(), unreadable=unreadable)
        return [
            _with_code(row, texts[path], path, unreadable)
            if (path := paths.get(row.id)) is not None else row for row in rows]

    def _with_folder(self, trials: Sequence[PlannedTrial]) -> Sequence[PlannedTrial]:
        """Return the trials that have a folder, if that is faster than trying to read files."""
        folder = f"{self._workdir.path}/trials"
        if not trials or not file_io.is_remote(folder):
            return trials
        there = {entry.name for entry in file_io.list_folders([folder])[folder]}
        return [planned for planned in trials if planned.id in there]

    def _read(self, trials: Sequence[PlannedTrial], strict: bool = False) -> Iterator[TrialRow]:
        for first in range(0, len(trials), _TRIALS_AT_A_TIME):
            some = trials[first:first + _TRIALS_AT_A_TIME]
            folders = [self._workdir.location(planned.id) for planned in some]
            unreadable: dict[str, str] = {}
            collected = None if strict else unreadable
            texts = read_files(folders, FILES, collected)
            metrics = file_io.read_many(
                [f"{folder}/metrics.jsonl" for folder in folders], TAIL, collected)
            found = [parse_status(folder, texts, unreadable) for folder in folders]
            # Only for display: what cannot be read now is read in the next round.
            texts |= file_io.read_many([
                f"{folder}/{PROGRESS}" for folder, status in zip(folders, found, strict=True)
                if status.status == "running"], unreadable={})
            for planned, folder, status in zip(some, folders, found, strict=True):
                row = _trial_row(planned, folder, status, texts | metrics, unreadable)
                if row.status == "finished":
                    self._finished[planned.id] = row
                yield row


def _with_code(
    row: TrialRow, text: bytes | None, path: str, unreadable: Mapping[str, str]
) -> TrialRow:
    """Add the state of the code that a trial ran with, as recorded in its attempts.jsonl."""
    try:
        starts = parse_starts(text, path)
    except UserError as error:
        return row._replace(broken=f"{row.broken} {error}".strip())
    return row._replace(
        code_state=provenance.code_state(starts, provenance.current_code(starts)),
        continued_from=provenance.continued_from(starts),
        broken=f"{row.broken} {unreadable.get(path, '')}".strip())


def _trial_row(
    planned: PlannedTrial, folder: str, found: TrialStatus, texts: Mapping[str, bytes | None],
    unreadable: Mapping[str, str],
) -> TrialRow:
    """Return the row of a trial, given its status, and its files and tails of logs by path."""
    arm, seed = planned.trial.arm, planned.trial.seed
    row = TrialRow(
        planned.id, arm, seed, found.status, steps=planned.steps, cause=found.cause,
        broken=found.broken)
    if found.status == "new":
        return row
    path = f"{folder}/metrics.jsonl"
    metrics: Mapping[str, Any] = {}
    try:
        metrics = parse_last_line(texts.get(path), path)
        problem = unreadable.get(path, "")
    except UserError as error:
        problem = str(error)
    row = row._replace(
        step=metrics.get("step", 0), loss=metrics.get("train/total_loss"),
        steps_per_second=metrics.get("train/steps_per_second"),
        broken=f"{row.broken} {problem}".strip())
    last = found.attempt
    if last is not None:
        # Else it is queued for the first time, or was trained without a launcher.
        now = time.time() if found.status == "running" else last.heartbeat
        row = row._replace(
            attempt=last.number, seconds=max((last.ended or now) - last.started, 0.0),
            log=attempt.log_name(f"trials/{planned.id}", last.role, last.number),
            started=last.started, host=last.host)
    if found.status == "finished":
        result = parse_result(texts.get(f"{folder}/{RESULT}") or b"", f"{folder}/{RESULT}")
        return row._replace(pace=measured_pace(row, result))
    return row._replace(evaluating=_evaluating(row, texts.get(f"{folder}/{PROGRESS}"), folder))


def _evaluating(row: TrialRow, text: bytes | None, folder: str) -> Evaluating | None:
    """Return the evaluation that a running trial's progress.json is about."""
    if text is None:
        return None
    try:
        fields = parse_progress(text, f"{folder}/{PROGRESS}")
    except UserError:
        return None
    # That of an attempt that was killed says nothing about this one.
    if row.started is None or fields["time"] < row.started:
        return None
    return Evaluating(fields["done"], fields["total"], fields["seconds"])
