"""Runs one command of a trial, and notes what became of it whatever happens.

::

    python -m deepmac_ablate.launch.supervision.supervisor TRIAL/job-train.json

Nothing outlives what it was started for: the command is asked to end when its supervisor is asked
to, when the launcher is gone, and, on Linux, by the kernel when the supervisor is killed.

The supervisor waits for days beside a trainer that needs the machine, and one is started for each
trial: it imports little. In a cloud the same is done by `worker`, beside notes on ``gs://``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import attempt, locks, processes
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.attempt_store import DiskNotes, Notes
from deepmac_ablate.launch.supervision.job import Job
from deepmac_ablate.launch.supervision.outcome import Outcome, Stop, judge, status_of_supervisor
from deepmac_ablate.launch.supervision.process import Command, LogOutput, Output
from deepmac_ablate.launch.supervision.signals import Bell
from deepmac_ablate.launch.supervision.watchdog import SignsOfLife

_SECONDS_BETWEEN_LOOKS = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job in a file; returns the process's exit status.

    Returns:
        0 if the command finished, 75 if it was interrupted, 69 if another supervisor has the
        trial's role, 2 if the file is no job; else the command's exit status, or 1.
    """
    parser = argparse.ArgumentParser(description="Runs one job of a trial and watches it.")
    parser.add_argument("job", type=Path, metavar="JOBFILE")
    path = parser.parse_args(argv).job
    try:
        job = Job.read(path)
        lock = locks.Lease.acquire(
            attempt.lock_path(job.folder, job.role),
            locks.this_process(f"a supervisor of its {job.role} job"))
        with lock:
            notes = DiskNotes(job.folder, job.role, lock, job.heartbeat)
            supervisor = Supervisor(job.role, notes, Bell(), path.stat().st_mtime)
            return supervisor.run(job, LogOutput(notes.log))
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.TAKEN if isinstance(error, locks.Taken) else errors.USER_ERROR


class Supervisor:
    """One attempt at a job; either `run` or `fail` is called, once.

    Args:
        role: "train" or "eval".
        notes: Where the attempt is noted.
        bell: What tells that this process shall end. It is there before the command is, which a
            signal would leave behind.
        job_written: When the job was, as Unix time; a companion's failure before does not count.
    """

    def __init__(
        self, role: str, notes: Notes, bell: Bell, job_written: float,
        submission: int | None = None,
    ) -> None:
        self._notes = notes
        self._bell = bell
        self._job_written = job_written
        self._stop: Stop | None = None
        # In seconds of time.monotonic().
        self._kill_at = float("inf")
        self._next_beat = 0.0
        self._signs = SignsOfLife(notes.look)
        now, pid = time.time(), os.getpid()
        self._attempt = Attempt(
            role, notes.number, "running", os.uname().nodename, pid,
            processes.process_identity(pid), started=now, heartbeat=now, submission=submission)

    def run(self, job: Job, output: Output) -> int:
        """Run the command to its end, or end it; returns the supervisor's exit status.

        Args:
            job: What to run.
            output: What takes its output and brings it into the notes' log.
        """
        self._beat(job)
        try:
            command = Command(
                job, output.path, self._notes.descriptors, self._notes.environment)
        except (OSError, ValueError) as error:
            return self._end(Outcome("failed", f"cannot start the command: {error}"), None)
        self._attempt = dataclasses.replace(
            self._attempt, process_group=command.group,
            group_started=processes.process_identity(command.group))
        self._beat(job)
        while (code := command.poll()) is None:
            self._bell.wait(min(_SECONDS_BETWEEN_LOOKS, self._seconds_to_kill()))
            output.keep()
            self._look_after(job, command)
        command.end_rest(min(job.grace, self._seconds_to_kill()))
        output.keep(last=True)
        return self._end(judge(code, self._stop, self._notes.log), code)

    def fail(self, cause: str) -> None:
        """Record that the command cannot be started, and why in one sentence."""
        self._end(Outcome("failed", cause), None)

    def _look_after(self, job: Job, command: Command) -> None:
        """End the command if it has to, and record that it runs."""
        if self._notes.lost():
            # Another one trains here by now, beside which no checkpoint may be written.
            command.kill()
        elif self._stop is None:
            self._stop = self._reason_to_stop(job)
            if self._stop is not None:
                self._kill_at = time.monotonic() + job.grace
                command.ask_to_end()
        elif self._seconds_to_kill() == 0:
            command.kill()
        if time.monotonic() >= self._next_beat:
            self._beat(job)

    def _reason_to_stop(self, job: Job) -> Stop | None:
        asked_by = self._bell.asked_by
        if asked_by is not None:
            return Stop("interrupted", f"asked to end by {asked_by.name}")
        if _launcher_is_gone(job):
            return Stop("interrupted", "its launcher has ended")
        if (cause := self._failure_of_companion(job)) is not None:
            return Stop("interrupted", f"the {job.companion} job failed: {cause}")
        if job.silence_limit and self._signs.seconds_of_silence() > job.silence_limit:
            return Stop("failed", f"no sign of life for {job.silence_limit:g} s")
        return None

    def _failure_of_companion(self, job: Job) -> str | None:
        other = self._notes.companion(job.companion) if job.companion else None
        if other and other.state == "failed" and (other.ended or 0) >= self._job_written:
            return other.cause
        return None

    def _beat(self, job: Job) -> None:
        self._next_beat = time.monotonic() + job.heartbeat
        self._attempt = dataclasses.replace(self._attempt, heartbeat=time.time())
        self._notes.write(self._attempt)

    def _end(self, outcome: Outcome, code: int | None) -> int:
        if self._notes.lost():
            # The state that is there is that of the other one.
            return errors.TAKEN
        now = time.time()
        self._attempt = dataclasses.replace(
            self._attempt, state=outcome.state, heartbeat=now, ended=now, exit_code=code,
            cause=outcome.cause)
        self._notes.end(self._attempt, hurried=self._bell.asked_by is not None)
        return status_of_supervisor(outcome, code)

    def _seconds_to_kill(self) -> float:
        return max(0.0, self._kill_at - time.monotonic())


def _launcher_is_gone(job: Job) -> bool:
    # A file system that does not answer is no reason to end a trainer.
    with contextlib.suppress(OSError):
        return job.lease is not None and not locks.is_held(job.lease)
    return False


if __name__ == "__main__":
    sys.exit(main())
