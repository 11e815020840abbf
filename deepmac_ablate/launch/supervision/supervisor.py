"""Supervisor: runs one command of a trial and records its outcome.

::

    python -m deepmac_ablate.launch.supervision.supervisor TRIAL/job-train.json ...

Several jobs run one after the other, in one process as long as that finishes its trials (see
`handover`). The first that does not finish is the last.

No process outlives its purpose: the command is asked to stop when its supervisor is, when the
launcher is gone, and, on Linux, by the kernel when the supervisor is killed.

One supervisor runs for days beside each trainer, which needs the machine, so it imports little. In
a cloud, `cloud_jobs.worker` does the same with an attempt store on ``gs://``.
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
from deepmac_ablate.launch.supervision.attempt_store import AttemptStore, LocalAttemptStore
from deepmac_ablate.launch.supervision.child_process import ChildProcess
from deepmac_ablate.launch.supervision.job import Job
from deepmac_ablate.launch.supervision.outcome import (
    Outcome,
    StopReason,
    decide_outcome,
    supervisor_exit_status,
)
from deepmac_ablate.launch.supervision.redacted_output import RedactedOutput
from deepmac_ablate.launch.supervision.signals import SignalListener
from deepmac_ablate.launch.supervision.watchdog import Watchdog
from deepmac_ablate.safe_text import redact, secret_values, visible

_SECONDS_BETWEEN_POLLS = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs in some files.

    Returns:
        Exit status, that of the last job that was run: 0 if the command finished, 75 if it was
        interrupted, 69 if another supervisor has the trial's role, 2 if the file is not a valid
        job; else that of the command, or 1.
    """
    parser = argparse.ArgumentParser(description="Run jobs of trials and supervise them.")
    parser.add_argument(
        "jobs", type=Path, nargs="+", metavar="JOBFILE", help="job-ROLE.json of a trial")
    paths = parser.parse_args(argv).jobs
    listener, child = SignalListener(), None
    try:
        for number, path in enumerate(paths, start=1):
            job = Job.read(path)
            if child is not None and (listener.stop_signal or _launcher_is_gone(job)):
                # The trials that have not begun stay as they are.
                return errors.INTERRUPTED
            lock = locks.acquire(
                attempt.lock_path(job.folder, job.role),
                locks.describe_this_process(f"a supervisor of its {job.role} job"))
            with lock:
                store = LocalAttemptStore(job.folder, job.role, lock, job.heartbeat)
                supervisor = Supervisor(job.role, store, listener, path.stat().st_mtime)
                output = RedactedOutput(store.log, secret_values({**os.environ, **job.env}))
                status = supervisor.run(job, output, child, has_successor=number < len(paths))
            child = supervisor.waiting_child
            if status != errors.FINISHED:
                break
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        is_held = isinstance(error, locks.LockHeldError)
        return errors.TAKEN if is_held else errors.USER_ERROR
    finally:
        if child is not None:
            child.dismiss()
    return status


class Supervisor:
    """Supervisor of one attempt; call either `run` or `fail`, once.

    Args:
        role: "train" or "eval".
        store: Storage of the attempt.
        listener: Reports whether this process was asked to stop. Create it before the command
            starts: a signal in between would leave the command behind.
        job_written: Unix time in seconds at which the job was written; earlier failures of a
            companion are ignored.
        submission: Number of the cloud submission; None outside clouds.

    Attributes:
        waiting_child: Process that has finished the job and waits for another; else None.
    """

    def __init__(
        self, role: str, store: AttemptStore, listener: SignalListener, job_written: float,
        submission: int | None = None,
    ) -> None:
        self._store = store
        self._listener = listener
        self._job_written = job_written
        self.waiting_child: ChildProcess | None = None
        self._stop: StopReason | None = None
        # In seconds of time.monotonic().
        self._kill_at = float("inf")
        self._next_heartbeat = 0.0
        self._watchdog = Watchdog(store.take_snapshot)
        now, pid = time.time(), os.getpid()
        self._attempt = Attempt(
            role, store.number, "running", os.uname().nodename, pid,
            processes.process_identity(pid), started=now, heartbeat=now, submission=submission)

    def run(
        self, job: Job, output: RedactedOutput, waiting: ChildProcess | None = None,
        has_successor: bool = False,
    ) -> int:
        """Run the command to its end, or end it; return the exit status of the supervisor.

        Args:
            job: Job to run.
            output: Transfers the command's output to the store's log.
            waiting: Process that takes the job if it still lives.
            has_successor: Whether the process may wait for another job at the end.
        """
        self._write_heartbeat(job)
        try:
            child = self._start(job, output, waiting, has_successor)
        except (OSError, ValueError) as error:
            return self._finish(Outcome("failed", f"cannot start the command: {error}"), None)
        self._attempt = dataclasses.replace(
            self._attempt, process_group=child.group,
            group_started=processes.process_identity(child.group))
        self._write_heartbeat(job)
        while (code := child.poll()) is None:
            self._listener.wait(min(_SECONDS_BETWEEN_POLLS, self._seconds_to_kill()))
            output.transfer()
            self._check(job, child)
        if child.is_waiting:
            self.waiting_child = child
        else:
            child.end_remaining(min(job.grace, self._seconds_to_kill()))
        output.transfer(final=True)
        if self._stop is not None and code == errors.WORKER_LOST:
            # Machines that are asked to end at once lose one another.
            code = errors.INTERRUPTED
        outcome = decide_outcome(code, self._stop, output.ending())
        output.close()
        return self._finish(outcome, code)

    def fail(self, cause: str) -> None:
        """Record that the command cannot be started.

        Args:
            cause: Reason in one sentence.
        """
        self._finish(Outcome("failed", cause), None)

    def _start(
        self, job: Job, output: RedactedOutput, waiting: ChildProcess | None, has_successor: bool
    ) -> ChildProcess:
        descriptors = self._store.descriptors
        if waiting is not None:
            # It may have ended while it waited.
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                waiting.take(job, output.open(), descriptors, has_successor)
                return waiting
        return ChildProcess(
            job, output.open(), descriptors, self._store.environment, has_successor)

    def _check(self, job: Job, child: ChildProcess) -> None:
        """End the command if necessary, and record that it runs."""
        if self._store.is_lost():
            # Another worker trains here by now; no checkpoint may be written beside it.
            child.kill()
        elif self._stop is None:
            self._stop = self._find_stop_reason(job)
            if self._stop is not None:
                self._kill_at = time.monotonic() + job.grace
                child.terminate()
        elif self._seconds_to_kill() == 0:
            child.kill()
        if time.monotonic() >= self._next_heartbeat:
            self._write_heartbeat(job)

    def _find_stop_reason(self, job: Job) -> StopReason | None:
        stop_signal = self._listener.stop_signal
        if stop_signal is not None:
            return StopReason("interrupted", f"asked to end by {stop_signal.name}")
        if _launcher_is_gone(job):
            return StopReason("interrupted", "its launcher has ended")
        if (cause := self._companion_failure(job)) is not None:
            return StopReason("interrupted", f"the {job.companion} job failed: {cause}")
        if job.silence_limit and self._watchdog.seconds_without_change() > job.silence_limit:
            return StopReason("failed", f"no sign of life for {job.silence_limit:g} s")
        return None

    def _companion_failure(self, job: Job) -> str | None:
        other = self._store.read_companion(job.companion) if job.companion else None
        if other and other.state == "failed" and (other.ended or 0) >= self._job_written:
            return other.cause
        return None

    def _write_heartbeat(self, job: Job) -> None:
        self._next_heartbeat = time.monotonic() + job.heartbeat
        self._attempt = dataclasses.replace(self._attempt, heartbeat=time.time())
        self._store.write(self._attempt)

    def _finish(self, outcome: Outcome, code: int | None) -> int:
        if self._store.is_lost():
            # The stored state is that of another worker.
            return errors.TAKEN
        now = time.time()
        self._attempt = dataclasses.replace(
            self._attempt, state=outcome.state, heartbeat=now, ended=now, exit_code=code,
            cause=outcome.cause and visible(redact(outcome.cause)))
        self._store.finish(self._attempt, hurried=self._listener.stop_signal is not None)
        return supervisor_exit_status(outcome, code)

    def _seconds_to_kill(self) -> float:
        return max(0.0, self._kill_at - time.monotonic())


def _launcher_is_gone(job: Job) -> bool:
    # A file system that does not answer is no reason to end a trainer.
    with contextlib.suppress(OSError):
        return job.launcher_lock is not None and not locks.is_held(job.launcher_lock)
    return False


if __name__ == "__main__":
    sys.exit(main())
