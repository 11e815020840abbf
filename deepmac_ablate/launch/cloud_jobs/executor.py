"""Executor of jobs that outlive their launcher, in a cloud or on a Slurm cluster.

The next launcher finds them by the submissions in the trials' folders, and follows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from deepmac_ablate.cloud.provider import JobRequest, JobState, NoAnswerError, Provider
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.active_jobs import (
    Submission,
    cancel_needless,
    create_provider,
    read_submission,
)
from deepmac_ablate.launch.cloud_jobs.code_snapshot import CodeSnapshot
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.executor import RunTrials, print_lease_note
from deepmac_ablate.launch.stop import (
    REMOTE_LAUNCHER,
    read_stop_request,
    remove_stop_request,
)
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.device_request import SLURM
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# A live launcher renews its lock within this time; the lock of a dead one expires.
_LOCK_PATIENCE = 100.0
# An unchanged status is recorded again after this time, so that readers know its age.
_SECONDS_BETWEEN_RECORDS = 60.0
# A cloud that does not answer for this time is given up; its jobs continue.
_SECONDS_WITHOUT_ANSWER = 600.0


class CloudExecutor:
    """Executor that runs trials in a cloud or on a Slurm cluster, see `Executor`.

    Args:
        template: Common part of the jobs, and the cloud that they are submitted to.
        workdir: Workdir of the sweep, on ``gs://`` or, for Slurm, on a disk that nodes share.
        snapshot: Gin files and modules that the jobs need.
        poll_seconds: Seconds between two queries of the cloud and the workdir.
    """

    jobs_outlive_launchers = True
    shares_processes = False

    def __init__(
        self,
        template: JobTemplate,
        workdir: SweepWorkdir,
        snapshot: CodeSnapshot,
        poll_seconds: float = 10.0,
    ) -> None:
        self.poll_seconds = poll_seconds
        self.shutdown_message = (
            "The launcher was asked to stop. Its jobs continue: launch again to follow them, or "
            f"stop them with 'deepmac-ablate stop {workdir.path}'.")
        self._provider = create_provider(template.executor, template.place)
        self._workdir = workdir
        self._template = template
        self._snapshot = snapshot
        self._abandoned = asyncio.Event()

    @contextlib.contextmanager
    def exclusive_access(self) -> Iterator[None]:
        """Hold the launcher's lock, and withdraw a request to stop an earlier launcher."""
        lock, holder = self._workdir.lock, locks.describe_this_process(REMOTE_LAUNCHER)
        self._workdir.create()
        try:
            self._lock = locks.acquire(lock, holder)
        except locks.LockHeldError as error:
            if not error.can_expire:
                raise
            print(f"{error} Waiting for a sign of life.", file=sys.stderr)
            self._lock = locks.acquire(lock, holder, _LOCK_PATIENCE)
        with self._lock:
            print_lease_note(self._workdir)
            remove_stop_request(self._workdir)
            if self._template.executor == SLURM:
                # One may have been requeued by a cluster that did not know that its trial was done.
                with contextlib.suppress(NoAnswerError):
                    cancel_needless(self._workdir)
            yield

    @contextlib.asynccontextmanager
    async def experiment(self, plan: Plan, launch: os.PathLike[str]) -> AsyncIterator[RunTrials]:
        """Yield a function that submits a trial's jobs and follows them."""
        del launch
        # Takes half a second to import, which a launch without work does not need.
        from deepmac_ablate.launch.xmanager import remote

        await asyncio.to_thread(self._snapshot.write, self._workdir.path)
        async with remote.work_units(plan.name, Path(self._workdir.xmanager)) as run_unit:

            async def run(batch: Sequence[PlannedTrial]) -> None:
                [planned] = batch
                jobs = await asyncio.to_thread(self._prepare, plan, planned)
                await run_unit({
                    role: remote.RemoteJob(
                        job.submission.executor, self._request(plan, planned, job.submission),
                        job.follow)
                    for role, job in jobs.items()})

            yield run

    def reason_to_stop(self) -> str:
        """Return a request to stop, or that another launcher has taken over; else an empty text."""
        if self._lock.taken_over:
            return "Another launcher has taken over the workdir."
        try:
            return read_stop_request(self._workdir)
        except OSError:
            # The request is read again at the next query.
            return ""

    def stop(self) -> None:
        """Stop following the jobs, which continue."""
        self._abandoned.set()

    def _prepare(self, plan: Plan, planned: PlannedTrial) -> dict[str, CloudJob]:
        """Prepare a trial's folder; return its jobs by role, new or still active."""
        self._workdir.prepare_trial(plan, planned)
        folder = self._workdir.location(planned.id)
        jobs: dict[str, CloudJob] = {}
        for role in self._template.options.modes():
            last = read_submission(folder, role)
            if last is None or last.has_ended:
                last = self._new_submission(plan, planned, role, last.number + 1 if last else 1)
            jobs[role] = CloudJob(
                self._provider_of(last), folder, last, self.poll_seconds, self._abandoned,
                jobs.get("train"))
        return jobs

    def _request(
        self, plan: Plan, planned: PlannedTrial, submission: Submission
    ) -> JobRequest:
        request = self._template.request(plan, planned, submission.role, submission.number)
        # The name that an earlier launcher may have submitted it by.
        return dataclasses.replace(request, name=submission.name)

    def _new_submission(
        self, plan: Plan, planned: PlannedTrial, role: str, number: int
    ) -> Submission:
        request = self._template.request(plan, planned, role, number)
        return Submission(
            role, number, self._template.executor, dict(self._template.place), request.name, None,
            request.device.name, request.image, time.time())

    def _provider_of(self, submission: Submission) -> Provider:
        """Return the cloud of a job, which an earlier launch may have sent elsewhere."""
        place = (self._template.executor, dict(self._template.place))
        if (submission.executor, submission.place) == place:
            return self._provider
        return create_provider(submission.executor, submission.place)


class CloudJob:
    """One job that is submitted and followed, and whose status is recorded in the trial's folder.

    Args:
        provider: Cloud of the job.
        folder: Trial folder.
        submission: Last recorded submission.
        seconds: Seconds between two queries of the job's status.
        abandoned: Event that is set once the launcher stops following its jobs.
        companion: Job without which this one is useless, so that its failure cancels this one.

    Attributes:
        submission: Last recorded submission.
    """

    def __init__(
        self,
        provider: Provider,
        folder: str,
        submission: Submission,
        seconds: float,
        abandoned: asyncio.Event,
        companion: CloudJob | None = None,
    ) -> None:
        self._provider = provider
        self._folder = folder
        self.submission = submission
        self._seconds = seconds
        self._abandoned = abandoned
        self._companion = companion
        self._answered = time.monotonic()

    @property
    def has_failed(self) -> bool:
        """True if the job has ended without success."""
        return self.submission.has_ended and self.submission.state != "succeeded"

    async def follow(self, request: JobRequest, on_submit: Callable[[str], None]) -> JobState:
        """Submit the job unless it has been submitted, and wait until it ends or is abandoned.

        Args:
            request: Request to submit.
            on_submit: Called with the cloud's name for the job.

        Returns:
            Last known state of the job.

        Raises:
            UserError: If the cloud refuses the job or does not answer.
            OSError: If the trial's folder cannot be written.
        """
        if self.submission.resource is None:
            # Recorded first: a later launcher that finds the record asks the cloud for the name.
            await self._record(self.submission)
            resource = await self._submit(request)
            if resource is None:
                return self.submission.state
            await self._record(dataclasses.replace(self.submission, resource=resource))
        on_submit(self.submission.resource)
        while True:
            await self._refresh()
            if self.submission.has_ended or self._abandoned.is_set():
                return self.submission.state
            if self._companion is not None and self._companion.has_failed:
                await asyncio.to_thread(self._provider.cancel, self.submission.resource)
            await self._pause()

    async def _submit(self, request: JobRequest) -> str | None:
        """Submit the job and return its resource; None if it was abandoned before an answer."""
        while not self._abandoned.is_set():
            try:
                return await asyncio.to_thread(self._provider.submit, request)
            except NoAnswerError:
                if self._is_given_up():
                    raise
            await self._pause()
        return None

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._abandoned.wait(), self._seconds)

    def _is_given_up(self) -> bool:
        """Return whether the provider has not answered for too long."""
        return time.monotonic() - self._answered > _SECONDS_WITHOUT_ANSWER

    async def _refresh(self) -> None:
        try:
            status = await asyncio.to_thread(self._provider.status, self.submission.resource)
        except UserError:
            if self._is_given_up():
                raise
            return
        self._answered, before, now = time.monotonic(), self.submission, time.time()
        changed = (status.state, status.message) != (before.state, before.message)
        if changed or now - before.looked > _SECONDS_BETWEEN_RECORDS:
            await self._record(before.with_status(status, now))

    async def _record(self, submission: Submission) -> None:
        await asyncio.to_thread(submission.write, self._folder)
        self.submission = submission
