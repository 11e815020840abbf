"""Work units in a cloud, through an executor of our own.

XManager's executors know neither TPUs from v4 on nor Kubernetes' way to ask for any, and some never
hear of a failure (https://github.com/google-deepmind/xmanager, issues 37 and 63). What is
registered here hands each job to whoever called, and gives XManager a handle that waits for it.
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
from deepmac_ablate.launch.xmanager.experiment import experiment

# Is told the cloud's name for a job as soon as it is known.
Noted = Callable[[str], None]
# Submits a job, or takes up the one that was, and returns its last state once it has ended, or once
# nobody waits for it any more.
Follow = Callable[[JobRequest, Noted], Awaitable[JobState]]


@dataclasses.dataclass(frozen=True)
class RemoteJob:
    """One job of a work unit.

    Attributes:
        executor: "vertex" or "gke".
        request: What it shall be.
        follow: Hands it to its cloud.
    """

    executor: str
    request: JobRequest
    follow: Follow


# Runs the jobs of one work unit, given by name; returns once nobody follows any of them.
RunUnit = Callable[[Mapping[str, RemoteJob]], Awaitable[None]]


@contextlib.asynccontextmanager
async def units(title: str, folder: Path) -> AsyncIterator[RunUnit]:
    """Make one experiment, see `experiment`.

    Yields:
        What runs a work unit. It raises what `follow` of one of its jobs has raised.
    """
    async with experiment(title, folder) as made:

        async def run(jobs: Mapping[str, RemoteJob]) -> None:
            group = xm.JobGroup(**{name: _job(job) for name, job in jobs.items()})
            unit = await made.add(group)
            with contextlib.suppress(xm.ExperimentUnitError):
                await unit.wait_until_complete()
            for handle in unit._non_local_execution_handles:
                handle.raise_error()

        yield run


@attr.s(auto_attribs=True)
class Remote(xm.Executor):
    """Where one job runs."""

    job: RemoteJob
    requirements: xm.JobRequirements = attr.Factory(xm.JobRequirements)

    @classmethod
    def Spec(cls) -> xm.ExecutorSpec:  # noqa: N802 (XManager's name)
        """There is none, as nothing is packaged: images are built before a launch."""
        raise TypeError("There is nothing to package for an executor of images.")

    @classmethod
    async def launch(
        cls, local_experiment_unit: Any, job_group: xm.JobGroup  # noqa: ANN401
    ) -> Sequence[Handle]:
        """Start the jobs of a unit that are this executor's."""
        return await registry.get_launch_method(cls)(local_experiment_unit, job_group)


class Handle(handles.ExecutionHandle):
    """All jobs of one work unit: XManager has no status of a unit with several handles."""

    def __init__(self, jobs: Sequence[xm.Job], note: Callable[[RemoteJob, str], None]) -> None:
        """Start to follow the jobs; within a running event loop."""
        self._tasks = [asyncio.ensure_future(self._follow(job, note)) for job in jobs]

    async def wait(self) -> None:
        """Wait until no job is followed any more.

        Raises:
            RuntimeError: If one has not ended well: what XManager takes for that, and no other.
        """
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if any(result != "succeeded" for result in results):
            raise RuntimeError(", ".join(map(str, results)))

    def get_status(self) -> status.LocalWorkUnitStatus:
        """Return XManager's word for it, which knows no waiting and no preemption."""
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
        """Nothing is known yet to be saved: the jobs are being submitted."""
        del experiment_id, work_unit_id

    def stop(self) -> None:
        """Stop waiting; the jobs go on, as the launcher's workdir knows them."""
        for task in self._tasks:
            task.cancel()

    def raise_error(self) -> None:
        """Raise what kept a job from being followed to its end."""
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @staticmethod
    async def _follow(job: xm.Job, note: Callable[[RemoteJob, str], None]) -> JobState:
        remote = job.executor.job
        words = xm.merge_args(job.executable.args, job.args).to_list(xm.utils.ARGV_ESCAPER)
        request = dataclasses.replace(remote.request, args=tuple(words))
        return await remote.follow(request, lambda resource: note(remote, resource))


async def _launch(unit: Any, group: xm.JobGroup) -> list[Handle]:  # noqa: ANN401
    jobs = xm.job_operators.collect_jobs_by_filter(
        group, lambda job: isinstance(job.executor, Remote))

    def note(job: RemoteJob, resource: str) -> None:
        rows, place = database.database(), (unit.experiment_id, unit.work_unit_id)
        if job.executor == "vertex":
            rows.insert_vertex_job(*place, resource)
        else:
            namespace, _, name = resource.partition("/")
            rows.insert_kubernetes_job(*place, namespace, name)

    handle = Handle(jobs, note)
    # XManager keeps the handles of its own executors only, and forgets all others.
    unit._non_local_execution_handles.append(handle)
    return [handle]


registry.register(Remote, launch=_launch)


def _job(job: RemoteJob) -> xm.Job:
    request = job.request
    image = executables.GoogleContainerRegistryImage(name=request.name, image_path=request.image)
    return xm.Job(image, Remote(job), args=list(request.args))
