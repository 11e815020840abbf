"""Slurm as a provider of jobs, asked through its own programs, without a database of ended jobs.

Slurm forgets a job some minutes after its end, so what became of a trial is told by its folder, and
Slurm only tells whether a job waits, runs or is gone. A controller that does not answer is no
answer: jobs go on without it.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepmac_ablate import errors
from deepmac_ablate.cloud.provider import JobState, JobStatus
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.slurm.batch_script import render_script
from deepmac_ablate.launch.slurm.job import SlurmRequest
from deepmac_ablate.launch.slurm.programs import ask_slurm, current_user, read_cluster_name
from deepmac_ablate.safe_text import redact, visible

# Age in seconds up to which the list of jobs answers questions about several of them.
SECONDS_FRESH = 5.0
_BYTES_OF_ENDING = 4096
_MAX_LINE = 200
# Reason of a job whose start has failed, for instance as its controller was killed meanwhile.
_HELD = re.compile("launch.failed.requeued.held", re.IGNORECASE)
_OF_SLURM = ("srun: ", "slurmstepd")

# States of squeue that are not in this table belong to jobs that still run.
_STATES: Mapping[str, JobState] = {
    "PENDING": "queued", "CONFIGURING": "queued", "REQUEUED": "queued", "REQUEUE_HOLD": "queued",
    "REQUEUE_FED": "queued", "RESV_DEL_HOLD": "queued", "SPECIAL_EXIT": "queued",
    "SUSPENDED": "preempted", "STOPPED": "preempted", "COMPLETED": "succeeded", "FAILED": "failed",
    "OUT_OF_MEMORY": "failed", "TIMEOUT": "expired", "DEADLINE": "expired",
    # Ended from outside, which is no failure of the trial.
    "CANCELLED": "cancelled", "NODE_FAIL": "cancelled", "BOOT_FAIL": "cancelled",
    "PREEMPTED": "cancelled", "REVOKED": "cancelled"}


class QueuedJob(NamedTuple):
    """One line of squeue."""

    state: str
    name: str
    reason: str


class JobList:
    """Jobs of one user, asked for all at once, and shared by all who ask within some seconds.

    Args:
        user: Name or number of the user.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._jobs: dict[str, QueuedJob] = {}

    def find(self, job_id: str, name: str) -> QueuedJob | None:
        """Return the job with a number and a name; None if Slurm does not know it.

        Raises:
            NoAnswerError: If the controller does not answer.
        """
        called = time.monotonic()
        with self._lock:
            if called - self._asked > SECONDS_FRESH:
                self._read()
            found = self._jobs.get(job_id)
            if (found is None or found.name != name) and self._asked < called:
                # It may be younger than the list.
                self._read()
                found = self._jobs.get(job_id)
        # Numbers begin again where a controller has lost its state.
        return found if found and found.name == name else None

    def _read(self) -> None:
        asked = time.monotonic()
        lines, _ = ask_slurm(
            "squeue", "--noheader", "--states=all", f"--user={self._user}", "--format=%A %T %j %r")
        # Names of this project's jobs have no spaces; others are not asked for.
        found = [line.split(" ", 3) for line in lines.splitlines()]
        self._jobs = {
            job_id: QueuedJob(state, name, reason) for job_id, state, name, reason in
            (fields for fields in found if len(fields) == 4)}
        self._asked = asked


@functools.cache
def _job_list(user: str) -> JobList:
    return JobList(user)


class Slurm:
    """The Slurm cluster that this machine belongs to, see `Provider`.

    A resource is the number of a job and its name, such as "1234/sweep-0123456789ab-...".

    Args:
        cluster: Name of the cluster that jobs were submitted to; empty for this machine's.
        user: Name of the user who submitted them; empty for this one.
    """

    def __init__(self, cluster: str = "", user: str = "") -> None:
        self._cluster = cluster
        self._user = user or current_user()

    def render(self, request: SlurmRequest) -> dict[str, Any]:
        """Return the batch script of a job."""
        return {"script": render_script(request)}

    def submit(self, request: SlurmRequest) -> str:
        """Submit a job, unless one of its name is known, and return its number and name.

        Raises:
            UserError: If Slurm refuses the job, with its own words, or its output cannot be
                written.
            NoAnswerError: If the controller does not answer; it may have received the job.
        """
        if (known := self.find_job(request.name)) is not None:
            return known
        try:
            # Slurm would end the job without a word.
            Path(request.output).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write {request.output}: {error.strerror}.") from error
        number, _ = ask_slurm("sbatch", "--parsable", script=render_script(request))
        return f"{number.strip().partition(';')[0]}/{request.name}"

    def find_job(self, name: str) -> str | None:
        """Return the number and name of the job with a name; None if Slurm does not know it."""
        self._check_cluster()
        answer, _ = ask_slurm(
            "squeue", "--noheader", "--states=all", f"--user={self._user}", f"--name={name}",
            "--format=%A")
        numbers = answer.split()
        return f"{numbers[-1]}/{name}" if numbers else None

    def status(self, resource: str) -> JobStatus:
        """Return the status of a job, with the reason for which it waits or how it ended."""
        self._check_cluster()
        number, _, name = resource.partition("/")
        job = _job_list(self._user).find(number, name)
        if job is None:
            if self._user != current_user():
                raise UserError(
                    f"Slurm does not show this user the job {number} of {self._user}; ask as "
                    f"{self._user}.")
            return JobStatus("gone", f"Slurm no longer knows job {number}")
        if job.state == "PENDING" and _HELD.fullmatch(job.reason):
            # The job would wait for ever. Slurm itself counts such starts, and gives up after some.
            ask_slurm("scontrol", "release", number)
        state = _STATES.get(job.state, "running")
        if state in ("queued", "preempted"):
            reason = "" if job.reason == "None" else f": {job.reason}"
            return JobStatus(state, f"Slurm job {number} is {job.state.lower()}{reason}")
        if state == "failed":
            return _explain_failure(number, job)
        if state in ("expired", "cancelled"):
            return JobStatus(state, f"Slurm job {number} ended as {job.state}")
        return JobStatus(state)

    def cancel(self, resource: str) -> None:
        """Ask Slurm to cancel a job; it has the cluster's KillWait to save and end."""
        self._check_cluster()
        ask_slurm("scancel", resource.partition("/")[0])

    def _check_cluster(self) -> None:
        if self._cluster not in ("", here := read_cluster_name()):
            raise UserError(
                f"The jobs were submitted to the Slurm cluster {self._cluster}, but this machine "
                f"belongs to {here}; use a machine of {self._cluster}.")


def estimate_start(request: SlurmRequest) -> str:
    """Return when and where Slurm would start a job now, in its own words.

    Raises:
        UserError: If no job like this can ever start, or Slurm is not installed here.
        NoAnswerError: If the controller does not answer.
    """
    _, answer = ask_slurm("sbatch", "--test-only", script=render_script(request))
    return f"Slurm could start a trial {re.sub(r'^Job [0-9]+ to start ', '', answer)}."


def _explain_failure(number: str, job: QueuedJob) -> JobStatus:
    """Return the status of a failed job, with the last line of its output."""
    record, _ = ask_slurm("scontrol", "show", "job", "--oneliner", number)
    code = re.search(r" ExitCode=(\d+):\d+", record)
    if code and int(code[1]) in (errors.INTERRUPTED, errors.TAKEN):
        # It could not be requeued; a new job may go on.
        return JobStatus("cancelled", f"Slurm job {number} was interrupted")
    how = f"({job.reason})" if code is None else f"with exit status {code[1]}"
    output = re.search(r" StdOut=(.*?)(?: \w+=|$)", record)
    line = _last_line(output[1].replace("%%", "%")) if output else ""
    return JobStatus("failed", f"Slurm job {number} ended as {job.state} {how}{line}")


def _last_line(path: str) -> str:
    """Return the last line of a job's output as a part of a sentence; empty if there is none."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES_OF_ENDING))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    # Slurm's own words only repeat the exit status.
    lines = [line for line in lines if not line.startswith(_OF_SLURM)] or lines
    return f"; last line of its output: {visible(redact(lines[-1]))[:_MAX_LINE]}" if lines else ""
