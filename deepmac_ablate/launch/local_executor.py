"""Trials on this machine: a supervisor and its trainer for each, which end with the launcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.executor import JobOptions, RunTrial
from deepmac_ablate.launch.gpus import Slots, environment
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.job import ROLES, Job
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.train_command import train_command
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# Makes the command of a job: the trial's folder, the trainer's mode, the kind of tracking.
Command = Callable[[Path, str, str], tuple[str, ...]]


class LocalExecutor:
    """Runs trials here, see `Executor`.

    Args:
        workdir: Of the sweep.
        options: What the jobs are like.
        devices: The GPUs that trials are spread over, as `devices.gpu_slots` names them.
        command: What a job runs.

    Raises:
        UserError: If the workdir is not on this machine.
    """

    seconds_between_looks = 1.0
    farewell = "It was asked to end."
    jobs_outlive_launchers = False

    def __init__(
        self,
        workdir: SweepWorkdir,
        options: JobOptions,
        devices: Sequence[str] = (),
        command: Command = train_command,
    ) -> None:
        if storage.is_remote(workdir.path):
            raise UserError(
                f"The executor 'local' needs a workdir on this machine, not {workdir.path}; give "
                "--executor vertex or --executor gke to launch into a cloud.")
        self._workdir = workdir
        self._options = options
        self._command = command
        self._slots = Slots(devices)
        self._lease: locks.FileLock | None = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the launcher's lock."""
        path = self._workdir.path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write the workdir {path}: {error}.") from error
        holder = locks.describe_this_process("a launcher")
        with locks.FileLock.acquire(Path(self._workdir.lock), holder):
            yield

    @contextlib.asynccontextmanager
    async def trials(self, plan: Plan, launch: os.PathLike[str]) -> AsyncIterator[RunTrial]:
        """Yield what runs a trial under supervisors that live as long as the launcher."""
        # Half a second of imports, which a launch without work does not need.
        from deepmac_ablate.launch.xmanager import local

        holder = locks.describe_this_process("a launcher")
        with locks.FileLock.acquire(Path(launch, "lease"), holder) as lease:
            self._lease = lease
            async with local.units(plan.name, Path(self._workdir.xmanager)) as run_unit:

                async def run(planned: PlannedTrial) -> None:
                    device = self._slots.take()
                    try:
                        await run_unit(await self._prepare(plan, planned, device, lease.path))
                    finally:
                        self._slots.give_back(device)

                yield run

    def reason_to_stop(self) -> str:
        """Nobody but this process can stop a launch on this machine."""
        return ""

    def stop(self) -> None:
        """Let go of the lease, so that all supervisors stop their trials."""
        if self._lease is not None:
            self._lease.release()

    async def _prepare(
        self, plan: Plan, planned: PlannedTrial, device: str | None, lease: Path
    ) -> dict[str, Path]:
        """Make a trial ready to start; returns the files of its jobs by their roles."""
        folder = self._workdir.folder(planned.id)
        for role in ROLES:
            # Of a launcher that was killed, or of a job that is not asked for any more.
            await asyncio.to_thread(attempt.stop_leftovers, folder, role)
        self._workdir.prepare_trial(plan, planned)
        modes = self._options.modes()
        jobs = [self._job(folder, role, mode, device, lease) for role, mode in modes.items()]
        return {job.role: job.write() for job in jobs}

    def _job(self, folder: Path, role: str, mode: str, device: str | None, lease: Path) -> Job:
        env = environment(device)
        if device and self._options.eval_job:
            # Two processes on one GPU: neither may take all of its memory at once.
            env = {**env, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return Job(
            folder=folder, role=role, cwd=Path.cwd(), env=env, launcher_lock=lease,
            command=self._command(folder, mode, self._options.tracking),
            silence_limit=self._options.silence_limit, grace=self._options.grace,
            companion="train" if role == "eval" else None)
