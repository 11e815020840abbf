"""Launches what a plan lacks: reconciles it with its workdir and feeds work units to XManager.

Every trial is a function of its folder alone, so that a launcher can be killed at any moment: what
is finished stays so, what was running is stopped by its supervisor and goes on at the next launch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deepmac_ablate import bindings, provenance
from deepmac_ablate.cost import Cost
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import attempt, locks
from deepmac_ablate.sweep.breaker import Breaker
from deepmac_ablate.sweep.devices import Slots, environment
from deepmac_ablate.sweep.job import ROLES, Job
from deepmac_ablate.sweep.observer import Observer
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.rows import TrialRow
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

if TYPE_CHECKING:
    from deepmac_ablate.sweep.executors.local import RunUnit

# How often a trial that somebody else stops (a preemption, the kernel for want of memory) is taken
# up again within one launch without having got any further.
_STOPS_AT_ONE_STEP = 3

# The trainer's mode by the role of its supervisor.
_ONE_JOB = {"train": "train_and_eval"}
_TWO_JOBS = {"train": "train", "eval": "continuous_eval"}

_SECONDS_BETWEEN_LOOKS = 1.0

# Makes the command of a job: the trial's folder, the trainer's mode, the kind of tracking.
Command = Callable[[Path, str, str], tuple[str, ...]]


def train_command(folder: Path, mode: str, tracking: str) -> tuple[str, ...]:
    """Returns the command that runs the trial in a folder."""
    return (
        sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", str(folder),
        "--mode", mode, "--tracking", tracking)


class Options(NamedTuple):
    """How a plan is launched; none of it changes a result.

    Attributes:
        max_parallel: Trials at a time.
        retry_failed: Whether trials that failed before are launched again.
        eval_job: Whether each trial is evaluated by a second job, while it trains.
        tracking: "off", "offline" or "online".
        silence_limit: Seconds without a sign of life after which a trial has failed; 0: none.
        devices: The GPUs that trials are spread over, as `devices.gpu_slots` names them.
        grace: Seconds that a trainer has to save and end once it is asked to.
        command: What a job runs.
    """

    max_parallel: int = 1
    retry_failed: bool = False
    eval_job: bool = False
    tracking: str = "off"
    silence_limit: float = 0.0
    devices: Sequence[str] = ()
    grace: float = 30.0
    command: Command = train_command


class Launch:
    """One launch of one plan.

    Attributes:
        observer: Reads what becomes of the trials.
        missing: The trials that are launched, in the order of the plan.
        stopped: Why not all of them were started; empty if they were.
    """

    def __init__(
        self,
        plan: Plan,
        workdir: SweepWorkdir,
        options: Options,
        costs: Mapping[str, Cost] | None = None,
    ) -> None:
        """Looks at what is there.

        Args:
            plan: What to launch.
            workdir: Where to.
            options: How.
            costs: What each arm costs, by its label, to be noted in the workdir.

        Raises:
            UserError: If the workdir is not on this machine.
        """
        if "://" in os.fspath(workdir.path):
            raise UserError(
                f"The executor 'local' needs a workdir on this machine, not {workdir.path}.")
        self.observer = Observer(workdir, plan)
        self.stopped = ""
        self._plan = plan
        self._workdir = workdir
        self._options = options
        self._costs = costs or {}
        self._slots = Slots(options.devices)
        self._breaker = Breaker()
        self._stops: dict[tuple[str, int], int] = {}
        there = {"finished"} if options.retry_failed else {"finished", "failed"}
        self.missing = [it for it in plan.trials if self.observer.row(it).status not in there]
        # Not to be taken for what this launch has shown to work.
        self._steps_before = {it.id: self.observer.row(it).step for it in self.missing}

    def run(self) -> None:
        """Runs all missing trials; returns once none is running.

        Raises:
            UserError: If another launcher is at work here, or the workdir cannot be written.
        """
        with _alone(self._workdir):
            folder = self._workdir.new_launch()
            files = dict.fromkeys(name for it in self._plan.trials for name in it.trial.gin_files)
            provenance.record(folder, bindings.modules(list(files)))
            self._workdir.write_plan(self._plan)
            self._workdir.write_costs(self._plan, self._costs)
            if self.missing:
                # Supervisors live as long as it is held.
                with locks.Lease.acquire(folder / "lease", locks.this_process("a launcher")) as it:
                    asyncio.run(self._run(it))

    async def _run(self, lease: locks.Lease) -> None:
        # Half a second of imports, which a launch without work does not need.
        from deepmac_ablate.sweep.executors import local

        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._stop, lease)
        waiting = deque(self.missing)
        running: dict[asyncio.Task[None], PlannedTrial] = {}
        async with local.experiment(self._plan.name, Path(self._workdir.xmanager)) as run_unit:
            while running or (waiting and not self.stopped):
                while waiting and not self.stopped and self._may_start(running):
                    planned = waiting.popleft()
                    task = loop.create_task(self._trial(planned, lease.path, run_unit))
                    running[task] = planned
                done, _ = await asyncio.wait(
                    running, timeout=_SECONDS_BETWEEN_LOOKS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                    planned = running.pop(task)
                    if self._goes_on(self.observer.row(planned)):
                        waiting.appendleft(planned)

    def _stop(self, lease: locks.Lease) -> None:
        """Has all supervisors stop their trials; asked again, does not wait for that."""
        if lease.descriptor < 0:
            os._exit(130)
        self.stopped = self.stopped or "It was asked to."
        lease.release()

    def _may_start(self, running: Mapping[asyncio.Task[None], PlannedTrial]) -> bool:
        if len(running) >= self._options.max_parallel:
            return False
        proven = any(
            self.observer.row(it).step > self._steps_before[it.id] for it in running.values())
        return self._breaker.may_start(len(running), proven)

    async def _trial(self, planned: PlannedTrial, lease: Path, run_unit: RunUnit) -> None:
        """Runs the work unit of one trial."""
        folder = self._workdir.folder(planned.id)
        device = self._slots.take()
        try:
            for role in ROLES:
                # Of a launcher that was killed, or of a job that is not asked for any more.
                await asyncio.to_thread(attempt.stop_leftovers, folder, role)
            self._workdir.prepare_trial(self._plan, planned)
            modes = _TWO_JOBS if self._options.eval_job else _ONE_JOB
            jobs = [self._job(folder, role, mode, device, lease) for role, mode in modes.items()]
            files = {job.role: job.write() for job in jobs}
        except (OSError, UserError) as error:
            # What keeps one trial from being started keeps all from it: a disk that is full.
            self.stopped = self.stopped or f"The trial {planned.id} cannot be started: {error}"
        else:
            await run_unit(files)
        finally:
            self._slots.give_back(device)

    def _job(self, folder: Path, role: str, mode: str, device: str | None, lease: Path) -> Job:
        env = environment(device)
        if device and self._options.eval_job:
            # Two processes on one GPU: neither may take all of its memory at once.
            env = {**env, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return Job(
            folder=folder, role=role, cwd=Path.cwd(), env=env, lease=lease,
            command=self._options.command(folder, mode, self._options.tracking),
            silence_limit=self._options.silence_limit, grace=self._options.grace,
            companion="train" if role == "eval" else None)

    def _goes_on(self, row: TrialRow) -> bool:
        """Takes in how a trial ended; whether it was stopped by somebody else and goes on."""
        self._breaker.note(row)
        self.stopped = self.stopped or self._breaker.message
        if row.status != "interrupted":
            return False
        stops = self._stops[row.id, row.step] = self._stops.get((row.id, row.step), 0) + 1
        return stops < _STOPS_AT_ONE_STEP


@contextlib.contextmanager
def _alone(workdir: SweepWorkdir) -> Iterator[None]:
    """Keeps other launchers out of a workdir."""
    try:
        workdir.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write the workdir {workdir.path}: {error}.") from error
    with locks.Lease.acquire(Path(workdir.lock), locks.this_process("a launcher")):
        yield
