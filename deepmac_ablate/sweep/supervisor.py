"""Runs one command of a trial, and notes what became of it whatever happens.

::

    python -m deepmac_ablate.sweep.supervisor TRIAL/job-train.json

Nothing outlives what it was started for: the command is asked to end when its supervisor is asked
to, when the launcher is gone, and, on Linux, by the kernel when the supervisor is killed.

The supervisor waits for days beside a trainer that needs the machine, and one is started for each
trial: it imports little.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import attempt, locks, processes
from deepmac_ablate.sweep.attempt import Attempt
from deepmac_ablate.sweep.bell import Bell
from deepmac_ablate.sweep.command import Command
from deepmac_ablate.sweep.job import Job
from deepmac_ablate.sweep.outcome import USER_ERROR, Outcome, Stop, exit_status, judge
from deepmac_ablate.sweep.signs_of_life import SignsOfLife

# sysexits.h calls it "service unavailable": another supervisor has the trial.
EXIT_TAKEN = 69

_SECONDS_BETWEEN_LOOKS = 0.2
# On a full disk the last state is worth some tries.
_LAST_WRITES = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job in a file; returns the process's exit status.

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
            return Supervisor(job, lock, path.stat().st_mtime).run()
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return EXIT_TAKEN if isinstance(error, locks.Taken) else USER_ERROR


class Supervisor:
    """One attempt at a job.

    Args:
        job: What to run.
        lock: That of the trial's role; the command inherits it.
        job_written: When the job was, as Unix time; a companion's failure before does not count.

    Raises:
        UserError: If the file of the attempt before is broken.
    """

    def __init__(self, job: Job, lock: locks.Lease, job_written: float) -> None:
        self._job = job
        self._lock = lock
        self._job_written = job_written
        self._stop: Stop | None = None
        # In seconds of time.monotonic().
        self._kill_at = float("inf")
        self._next_beat = 0.0
        number = _next_number(job)
        self._log = attempt.log_path(job.folder, job.role, number)
        self._signs = SignsOfLife(job.folder, self._log)
        now, pid = time.time(), os.getpid()
        self._attempt = Attempt(
            job.role, number, "running", os.uname().nodename, pid, processes.start_of(pid),
            started=now, heartbeat=now)

    def run(self) -> int:
        """Runs the command to its end, or ends it; returns the supervisor's exit status."""
        # Before there is a command that a signal would leave behind.
        self._bell = Bell()
        _remove_torn_states(self._job)
        self._write_state()
        mark = attempt.mark(self._job.folder, self._job.role)
        try:
            command = Command(
                self._job, self._log, self._lock.descriptor, {attempt.VARIABLE: mark})
        except (OSError, ValueError) as error:
            return self._end(Outcome("failed", f"cannot start the command: {error}"), None)
        self._attempt = dataclasses.replace(
            self._attempt, process_group=command.group,
            group_started=processes.start_of(command.group))
        self._write_state()
        while (code := command.poll()) is None:
            self._bell.wait(min(_SECONDS_BETWEEN_LOOKS, self._seconds_to_kill()))
            self._look_after(command)
        command.end_rest(min(self._job.grace, self._seconds_to_kill()))
        return self._end(judge(code, self._stop, self._log), code)

    def _look_after(self, command: Command) -> None:
        """Ends the command if it has to, and writes that it runs."""
        if self._stop is None:
            self._stop = self._reason_to_stop()
            if self._stop is not None:
                self._kill_at = time.monotonic() + self._job.grace
                command.ask_to_end()
        elif self._seconds_to_kill() == 0:
            command.kill()
        if time.monotonic() >= self._next_beat:
            self._write_state()

    def _reason_to_stop(self) -> Stop | None:
        job, asked_by = self._job, self._bell.asked_by
        if asked_by is not None:
            return Stop("interrupted", f"asked to end by {asked_by.name}")
        if self._launcher_is_gone():
            return Stop("interrupted", "its launcher has ended")
        if (cause := self._failure_of_companion()) is not None:
            return Stop("interrupted", f"the {job.companion} job failed: {cause}")
        if job.silence_limit and self._signs.seconds_of_silence() > job.silence_limit:
            return Stop("failed", f"no sign of life for {job.silence_limit:g} s")
        return None

    def _launcher_is_gone(self) -> bool:
        # A file system that does not answer is no reason to end a trainer.
        with contextlib.suppress(OSError):
            return self._job.lease is not None and not locks.is_held(self._job.lease)
        return False

    def _failure_of_companion(self) -> str | None:
        if self._job.companion is None:
            return None
        with contextlib.suppress(OSError, UserError):
            other = attempt.read(self._job.folder, self._job.companion)
            if other and other.state == "failed" and (other.ended or 0) >= self._job_written:
                return other.cause
        return None

    def _end(self, outcome: Outcome, code: int | None) -> int:
        self._attempt = dataclasses.replace(
            self._attempt, state=outcome.state, ended=time.time(), exit_code=code,
            cause=outcome.cause)
        for _ in range(_LAST_WRITES):
            if self._write_state():
                break
            time.sleep(self._job.heartbeat)
        return exit_status(outcome, code)

    def _write_state(self) -> bool:
        """Writes the attempt's state; False where that failed, which the next beat makes good."""
        self._next_beat = time.monotonic() + self._job.heartbeat
        self._attempt = dataclasses.replace(self._attempt, heartbeat=time.time())
        try:
            self._attempt.write(self._job.folder)
        except OSError:
            return False
        return True

    def _seconds_to_kill(self) -> float:
        return max(0.0, self._kill_at - time.monotonic())


def _next_number(job: Job) -> int:
    """Returns the number of a new attempt; an earlier one may have left its state or only a log."""
    last = attempt.read(job.folder, job.role)
    numbers = [last.number if last else 0]
    for path in (job.folder / "logs").glob(f"{job.role}-*.log"):
        if match := re.fullmatch(r".*-([0-9]+)", path.stem):
            numbers.append(int(match[1]))
    return max(numbers) + 1


def _remove_torn_states(job: Job) -> None:
    """Removes what killed supervisors had not finished writing."""
    for path in job.folder.glob(f".state-{job.role}.json.*.tmp"):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
