"""Work units in the cloud, run by a custom XManager executor.

XManager's own executors support neither TPU v4 and later nor TPUs on Kubernetes, and some miss
failures (https://github.com/google-deepmind/xmanager, issues 37 and 63). The executor here calls
`RemoteJob.follow` for each job and gives XManager a handle that waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attr
from xmanager import xm
from xmanager.xm_local import executables, handles, registry, status
from xmanager.xm_local.storage import database

from deepmac_ablate.cloud.provider import JobRequest, JobState
from deepmac_ablate.launch.xmanager.experiment import open_experiment

# Receives the cloud's name of a job as soon as it is known.
ReportResource = Callable[[str], None]
# Submits a job unless it has been submitted before, waits until it ends or the launcher stops, and
# returns its last state.
FollowJob = Callable[[JobRequest, ReportResource], Awaitable[JobState]]


@dataclasses.dataclass(frozen=True)
class RemoteJob:
    """One job of a work unit.

    Attributes:
        executor: "vertex" or "gke".
        request: The job to submit.
        follow: Submits the job and waits for it.
    """

    executor: str
    request: JobRequest
    follow: FollowJob


# Runs one work unit, given as its jobs by name. Returns once no job is followed any more.
RunUnit = Callable[[Mapping[str, RemoteJob]], Awaitable[None]]


@contextlib.asynccontextmanager
async def work_units(title: str, folder: Path) -> AsyncIterator[RunUnit]:
    """Open an experiment (see `open_experiment`).

    Yields:
        A function that runs a work unit. It raises the errors of `RemoteJob.follow`.
    """
    async with open_experiment(title, folder) as experiment:

        async def run_unit(jobs: Mapping[str, RemoteJob]) -> None:
            group = xm.JobGroup(**{name: _job(job) for name, job in jobs.items()})
            unit = await experiment.add(group)
            with contextlib.suppress(xm.ExperimentUnitError):
                await unit.wait_until_complete()
            for handle in unit._non_local_execution_handles:
                handle.raise_error()

        yield run_unit


@attr.s(auto_attribs=True)
class RemoteExecutor(xm.Executor):
    """Executor of one job in the cloud."""

    job: RemoteJob
    requirements: xm.JobRequirements = attr.Factory(xm.JobRequirements)

    @classmethod
    def Spec(cls) -> xm.ExecutorSpec:  # noqa: N802 (XManager's name)
        """Raise, as nothing can be packaged: images are built before a launch."""
        raise TypeError("RemoteExecutor runs prebuilt images and cannot package executables.")

    @classmethod
    async def launch(
        cls, local_experiment_unit: Any, job_group: xm.JobGroup  # noqa: ANN401
    ) -> Sequence[JobsHandle]:
        """Start the jobs of a work unit that use this executor."""
        return await registry.get_launch_method(cls)(local_experiment_unit, job_group)


class JobsHandle(handles.ExecutionHandle):
    """Handle of all jobs of one work unit: XManager supports one remote handle per unit."""

    def __init__(
        self, jobs: Sequence[xm.Job], report: Callable[[RemoteJob, str], None]
    ) -> None:
        """Start to follow the jobs, in a running event loop."""
        self._tasks = [asyncio.ensure_future(self._follow(job, report)) for job in jobs]

    async def wait(self) -> None:
        """Wait until no job is followed any more.

        Raises:
            RuntimeError: If a job has not succeeded; XManager expects this type.
        """
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if any(result != "succeeded" for result in results):
            raise RuntimeError(", ".join(map(str, results)))

    def get_status(self) -> status.LocalWorkUnitStatus:
        """Return XManager's status, which does not distinguish queued and preempted jobs."""
        known = status.LocalWorkUnitStatusEnum
        if not all(task.done() for task in self._tasks):
            return status.LocalWorkUnitStatus(known.RUNNING)
        ended = [None if task.exception() else task.result() for task in self._tasks]
        if all(state == "succeeded" for state in ended):
            return status.LocalWorkUnitStatus(known.COMPLETED)
        if "cancelled" in ended:
            return status.LocalWorkUnitStatus(known.CANCELLED)
        return status.LocalWorkUnitStatus(known.FAILED)

    def save_to_storage(self, experiment_id: int, work_unit_id: int) -> None:
        """Do nothing: the names of the jobs are not known yet."""
        del experiment_id, work_unit_id

    def stop(self) -> None:
        """Stop waiting for the jobs, which keep running."""
        for task in self._tasks:
            task.cancel()

    def raise_error(self) -> None:
        """Raise the first error that ended the following of a job."""
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @staticmethod
    async def _follow(job: xm.Job, report: Callable[[RemoteJob, str], None]) -> JobState:
        remote = job.executor.job
        words = xm.merge_args(job.executable.args, job.args).to_list(xm.utils.ARGV_ESCAPER)
        request = dataclasses.replace(remote.request, args=tuple(words))
        return await remote.follow(request, lambda resource: report(remote, resource))


async def _launch(unit: Any, group: xm.JobGroup) -> list[JobsHandle]:  # noqa: ANN401
    jobs = xm.job_operators.collect_jobs_by_filter(
        group, lambda job: isinstance(job.executor, RemoteExecutor))

    def save_resource(job: RemoteJob, resource: str) -> None:
        rows, place = database.database(), (unit.experiment_id, unit.work_unit_id)
        if job.executor == "vertex":
            rows.insert_vertex_job(*place, resource)
        else:
            namespace, _, name = resource.rpartition("/")
            rows.insert_kubernetes_job(*place, namespace, name)

    handle = JobsHandle(jobs, save_resource)
    # XManager keeps only the handles of its own executors.
    unit._non_local_execution_handles.append(handle)
    return [handle]


registry.register(RemoteExecutor, launch=_launch)


def _job(job: RemoteJob) -> xm.Job:
    request = job.request
    image = executables.GoogleContainerRegistryImage(name=request.name, image_path=request.image)
    return xm.Job(image, RemoteExecutor(job), args=list(request.args))
