"""Trials in a cloud: jobs that go on without their launcher, and are taken up by the next one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from deepmac_ablate.cloud.provider import JobRequest, Provider, State
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import submission
from deepmac_ablate.launch.cloud_jobs.code_snapshot import Snapshot
from deepmac_ablate.launch.cloud_jobs.job_template import JobTemplate
from deepmac_ablate.launch.cloud_jobs.providers import provider
from deepmac_ablate.launch.cloud_jobs.submission import Submission
from deepmac_ablate.launch.executor import RunTrial
from deepmac_ablate.launch.stop import read_stop_request, remove_stop_request
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# A living launcher renews its lock within these; a dead one's is free after them.
_SECONDS_FOR_A_SIGN = 100.0


class CloudExecutor:
    """Runs trials in a cloud, see `Executor`.

    Args:
        template: What the jobs are like, and where they go.
        workdir: Of the sweep, on ``gs://``.
        snapshot: Of the gin files and modules that the jobs need.
        poll_seconds: How often the cloud and the workdir are asked for news.
    """

    jobs_outlive_launchers = True

    def __init__(
        self,
        template: JobTemplate,
        workdir: SweepWorkdir,
        snapshot: Snapshot,
        poll_seconds: float = 10.0,
    ) -> None:
        self.poll_seconds = poll_seconds
        self.shutdown_message = (
            "It was asked to end. Its jobs go on: launch again to follow them, or end them with "
            f"'deepmac-ablate stop {workdir.path}'.")
        self._provider = provider(template.executor, template.place)
        self._workdir = workdir
        self._template = template
        self._snapshot = snapshot
        self._left = asyncio.Event()

    @contextlib.contextmanager
    def exclusive_access(self) -> Iterator[None]:
        """Hold the launcher's lock, and forget what an earlier launcher was asked."""
        lock, holder = self._workdir.lock, locks.this_process("a launcher")
        try:
            self._lease = locks.acquire(lock, holder)
        except locks.Taken as taken:
            # A lock on gs:// outlives its holder.
            print(f"{taken} Waiting for a sign of its life.", file=sys.stderr)
            self._lease = locks.acquire(lock, holder, _SECONDS_FOR_A_SIGN)
        with self._lease:
            remove_stop_request(self._workdir)
            yield

    @contextlib.asynccontextmanager
    async def experiment(self, plan: Plan, launch: os.PathLike[str]) -> AsyncIterator[RunTrial]:
        """Yield what submits a trial's jobs and follow them."""
        del launch
        # Half a second of imports, which a launch without work does not need.
        from deepmac_ablate.launch.xmanager import remote

        await asyncio.to_thread(self._snapshot.keep, self._workdir.path)
        async with remote.work_units(plan.name, Path(self._workdir.xmanager)) as run_unit:

            async def run(planned: PlannedTrial) -> None:
                jobs = await asyncio.to_thread(self._prepare, plan, planned)
                await run_unit({
                    role: remote.RemoteJob(
                        job.submission.executor,
                        self._template.request(plan, planned, role, job.submission.number),
                        job.follow)
                    for role, job in jobs.items()})

            yield run

    def reason_to_stop(self) -> str:
        """Return what another process has asked for, or done."""
        if self._lease.taken_over:
            return "Another launcher has taken the workdir over."
        try:
            return read_stop_request(self._workdir)
        except OSError:
            # It is read again.
            return ""

    def stop(self) -> None:
        """Leave the jobs alone."""
        self._left.set()

    def _prepare(self, plan: Plan, planned: PlannedTrial) -> dict[str, CloudJob]:
        """Make a trial ready to start; returns its jobs by their roles, new or taken up."""
        self._workdir.prepare_trial(plan, planned)
        folder = self._workdir.location(planned.id)
        jobs: dict[str, CloudJob] = {}
        for role in self._template.options.modes():
            last = submission.read(folder, role)
            if last is None or last.has_ended:
                last = self._submission(plan, planned, role, last.number + 1 if last else 1)
            jobs[role] = CloudJob(
                self._cloud(last), folder, last, self.poll_seconds, self._left,
                jobs.get("train"))
        return jobs

    def _submission(
        self, plan: Plan, planned: PlannedTrial, role: str, number: int
    ) -> Submission:
        request = self._template.request(plan, planned, role, number)
        return Submission(
            role, number, self._template.executor, dict(self._template.place), request.name, None,
            request.device.name, request.image, time.time())

    def _cloud(self, of: Submission) -> Provider:
        """Return where a job is, which may have been launched elsewhere before."""
        if (of.executor, of.place) == (self._template.executor, dict(self._template.place)):
            return self._provider
        return provider(of.executor, of.place)


# After which it is noted again that a job is as it was, so that a reader knows how old the news is.
_SECONDS_BETWEEN_NOTES = 60.0
# A cloud that does not answer for as long is not waited for any more; its jobs go on.
_SECONDS_WITHOUT_ANSWER = 600.0


class CloudJob:
    """Follows one submission and notes what becomes of it in the trial's folder.

    Args:
        provider: Where it is, or is to be.
        folder: The trial's.
        submission: What was noted of it last.
        seconds: Between two looks.
        left: Set once nobody waits for it any more.
        companion: The job without which this one is in vain; None: there is none.

    Attributes:
        submission: What is noted of it.
    """

    def __init__(
        self,
        provider: Provider,
        folder: str,
        submission: Submission,
        seconds: float,
        left: asyncio.Event,
        companion: CloudJob | None = None,
    ) -> None:
        self._provider = provider
        self._folder = folder
        self.submission = submission
        self._seconds = seconds
        self._left = left
        self._companion = companion
        self._answered = time.monotonic()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended, but not well."""
        return self.submission.has_ended and self.submission.state != "succeeded"

    async def follow(self, request: JobRequest, noted: Callable[[str], None]) -> State:
        """Submit the job unless it has been, and return its state once it is over, or left.

        Args:
            request: What to submit.
            noted: Is told the cloud's name for it.

        Raises:
            UserError: If the cloud refuses it or gives no answer.
            OSError: If the trial's folder cannot be written.
        """
        if self.submission.resource is None:
            # Before the cloud hears of it: whoever finds the note asks the cloud for it by name.
            await self._note(self.submission)
            resource = await asyncio.to_thread(self._provider.submit, request)
            await self._note(dataclasses.replace(self.submission, resource=resource))
        noted(self.submission.resource)
        while True:
            await self._look()
            if self.submission.has_ended or self._left.is_set():
                return self.submission.state
            if self._companion is not None and self._companion.has_failed:
                await asyncio.to_thread(self._provider.cancel, self.submission.resource)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), self._seconds)

    async def _look(self) -> None:
        try:
            look = await asyncio.to_thread(self._provider.look, self.submission.resource)
        except UserError:
            if time.monotonic() - self._answered > _SECONDS_WITHOUT_ANSWER:
                raise
            return
        self._answered, before, now = time.monotonic(), self.submission, time.time()
        news = before.seen(look, now)
        changed = (news.state, news.message) != (before.state, before.message)
        if changed or now - before.looked > _SECONDS_BETWEEN_NOTES:
            await self._note(news)

    async def _note(self, submission: Submission) -> None:
        await asyncio.to_thread(submission.write, self._folder)
        self.submission = submission
