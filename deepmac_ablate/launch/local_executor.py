"""Executor on this machine: each trial has a supervisor, which ends when the launcher does."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs.job_template import runtime_bindings
from deepmac_ablate.launch.executor import (
    JobOptions,
    RunTrials,
    print_lease_note,
    train_command,
)
from deepmac_ablate.launch.gpus import GpuPool, gpu_environment
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.job import ROLES, Job
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.device_request import own_machines
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# Returns the command of a job, given the trial's folder, the trainer's mode, the tracking, and
# bindings of `Runtime`.
BuildCommand = Callable[[Path, str, str, Sequence[str]], tuple[str, ...]]


class LocalExecutor:
    """Runs trials on this machine (see `Executor`).

    Args:
        workdir: The workdir of the sweep.
        options: Options of all jobs.
        gpus: GPUs to distribute the trials over, as returned by `gpus.list_gpus`.
        gpus_per_trial: Number of GPUs of each trial.
        build_command: Returns the command of a job.

    Raises:
        UserError: If the workdir is not on a local disk, or there are too few GPUs for a trial.
    """

    poll_seconds = 1.0
    shutdown_message = "The launch was interrupted; launch again to resume."
    jobs_outlive_launchers = False

    def __init__(
        self,
        workdir: SweepWorkdir,
        options: JobOptions,
        gpus: Sequence[str] = (),
        gpus_per_trial: int = 1,
        build_command: BuildCommand = train_command,
    ) -> None:
        if file_io.is_remote(workdir.path):
            raise UserError(
                f"--executor local needs a workdir on a local disk, got {workdir.path}; pass "
                "--executor vertex or --executor gke to run in the cloud.")
        self._workdir = workdir
        self._options = options
        self._build_command = build_command
        self._gpus = GpuPool(gpus, gpus_per_trial)
        self._runtime = runtime_bindings(own_machines(gpus_per_trial))
        self._lease: locks.FileLock | locks.DiskLease | None = None
        # The evaluator of a trial lives as long as its trainer.
        self.shares_processes = not options.eval_job

    @contextlib.contextmanager
    def exclusive_access(self) -> Iterator[None]:
        """Hold the launcher's lock."""
        self._workdir.create()
        holder = locks.describe_this_process("a launcher")
        with locks.acquire(self._workdir.lock, holder):
            print_lease_note(self._workdir)
            yield

    @contextlib.asynccontextmanager
    async def experiment(self, plan: Plan, launch: os.PathLike[str]) -> AsyncIterator[RunTrials]:
        """Yield a function that runs trials under supervisors that end with the launcher."""
        # This import takes half a second, which a launch without pending trials does not need.
        from deepmac_ablate.launch.xmanager import local

        holder = locks.describe_this_process("a launcher")
        with locks.acquire(Path(launch, "lease"), holder) as lease:
            self._lease = lease
            async with local.work_units(plan.name, Path(self._workdir.xmanager)) as run_unit:

                async def run_trials(batch: Sequence[PlannedTrial]) -> None:
                    gpus = self._gpus.acquire()
                    try:
                        prepared = [
                            files for planned in batch
                            if (files := await self._prepare(plan, planned, gpus, lease.path))]
                        if prepared:
                            await run_unit({
                                role: [files[role] for files in prepared] for role in prepared[0]})
                    finally:
                        self._gpus.release(gpus)

                yield run_trials

    def reason_to_stop(self) -> str:
        """Return "": other processes stop this launcher by a signal."""
        return ""

    def stop(self) -> None:
        """Release the lease, which makes all supervisors stop their trials."""
        if self._lease is not None:
            self._lease.release()

    async def _prepare(
        self, plan: Plan, planned: PlannedTrial, gpus: Sequence[str], lease: Path
    ) -> dict[str, Path]:
        """Prepare a trial's folder and return the files of its jobs by role; none if it is done."""
        folder = self._workdir.folder(planned.id)
        for role in ROLES:
            # Processes of a killed launcher, or of a role that this launch does not use.
            await asyncio.to_thread(attempt.stop_leftovers, folder, role)
        if self._workdir.trial(planned.id).is_finished():
            # By a process that ended meanwhile.
            return {}
        self._workdir.prepare_trial(plan, planned)
        modes = self._options.modes()
        jobs = [self._job(folder, role, mode, gpus, lease) for role, mode in modes.items()]
        return {job.role: job.write() for job in jobs}

    def _job(
        self, folder: Path, role: str, mode: str, gpus: Sequence[str], lease: Path
    ) -> Job:
        env = gpu_environment(gpus)
        # One device is enough to evaluate what others train.
        runtime = self._runtime if role == "train" else ()
        if gpus and self._options.eval_job:
            # Two processes share the GPUs: neither may take all of their memory at once.
            env = {**env, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return Job(
            folder=folder, role=role, cwd=Path.cwd(), env=env, launcher_lock=lease,
            command=self._build_command(folder, mode, self._options.tracking, runtime),
            silence_limit=self._options.silence_limit, grace=self._options.grace,
            companion="train" if role == "eval" else None)
