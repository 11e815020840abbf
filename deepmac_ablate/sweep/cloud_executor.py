"""Trials in a cloud: jobs that go on without their launcher, and are taken up by the next one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from deepmac_ablate.cloud.provider import Provider
from deepmac_ablate.sweep import locks, stop_request, submission
from deepmac_ablate.sweep.cloud_job import CloudJob
from deepmac_ablate.sweep.code_snapshot import Snapshot
from deepmac_ablate.sweep.executor import RunTrial
from deepmac_ablate.sweep.job_template import JobTemplate
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.providers import provider
from deepmac_ablate.sweep.submission import Submission
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

# A living launcher renews its lock within these; a dead one's is free after them.
_SECONDS_FOR_A_SIGN = 100.0


class CloudExecutor:
    """Runs trials in a cloud, see `Executor`.

    Args:
        template: What the jobs are like, and where they go.
        workdir: Of the sweep, on ``gs://``.
        snapshot: Of the gin files and modules that the jobs need.
        seconds_between_looks: How often the cloud and the workdir are asked for news.
    """

    jobs_outlive_launchers = True

    def __init__(
        self,
        template: JobTemplate,
        workdir: SweepWorkdir,
        snapshot: Snapshot,
        seconds_between_looks: float = 10.0,
    ) -> None:
        self.seconds_between_looks = seconds_between_looks
        self.farewell = (
            "It was asked to end. Its jobs go on: launch again to follow them, or end them with "
            f"'deepmac-ablate stop {workdir.path}'.")
        self._provider = provider(template.executor, template.place)
        self._workdir = workdir
        self._template = template
        self._snapshot = snapshot
        self._left = asyncio.Event()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the launcher's lock, and forgets what an earlier launcher was asked."""
        lock, holder = self._workdir.lock, locks.this_process("a launcher")
        try:
            self._lease = locks.acquire(lock, holder)
        except locks.Taken as taken:
            # A lock on gs:// outlives its holder.
            print(f"{taken} Waiting for a sign of its life.", file=sys.stderr)
            self._lease = locks.acquire(lock, holder, _SECONDS_FOR_A_SIGN)
        with self._lease:
            stop_request.withdraw(self._workdir)
            yield

    @contextlib.asynccontextmanager
    async def trials(self, plan: Plan, launch: os.PathLike[str]) -> AsyncIterator[RunTrial]:
        """Yields what submits a trial's jobs and follows them."""
        del launch
        # Half a second of imports, which a launch without work does not need.
        from deepmac_ablate.sweep.executors import remote

        await asyncio.to_thread(self._snapshot.keep, self._workdir.path)
        async with remote.units(plan.name, Path(self._workdir.xmanager)) as run_unit:

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
        """Returns what another process has asked for, or done."""
        if self._lease.taken_over:
            return "Another launcher has taken the workdir over."
        try:
            return stop_request.read(self._workdir)
        except OSError:
            # It is read again.
            return ""

    def stop(self) -> None:
        """Leaves the jobs alone."""
        self._left.set()

    def _prepare(self, plan: Plan, planned: PlannedTrial) -> dict[str, CloudJob]:
        """Makes a trial ready to start; returns its jobs by their roles, new or taken up."""
        self._workdir.prepare_trial(plan, planned)
        folder = self._workdir.location(planned.id)
        jobs: dict[str, CloudJob] = {}
        for role in self._template.options.modes():
            last = submission.read(folder, role)
            if last is None or last.has_ended:
                last = self._submission(plan, planned, role, last.number + 1 if last else 1)
            jobs[role] = CloudJob(
                self._cloud(last), folder, last, self.seconds_between_looks, self._left,
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
        """Returns where a job is, which may have been launched elsewhere before."""
        if (of.executor, of.place) == (self._template.executor, dict(self._template.place)):
            return self._provider
        return provider(of.executor, of.place)
