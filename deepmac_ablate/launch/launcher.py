"""Launches what a plan lacks: reconciles it with its workdir and feeds trials to an executor.

Every trial is a function of its folder alone, so that a launcher can be killed at any moment: what
is finished stays so, and the next launch takes up whatever is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.launch.executor import Executor, RunTrial
from deepmac_ablate.launch.status_reader import Observer
from deepmac_ablate.launch.status_rows import TrialRow, log_path, normalised
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial import provenance

# How often a trial that somebody else stops (a preemption, the kernel for want of memory) is taken
# up again within one launch without having got any further.
_STOPS_AT_ONE_STEP = 3


class Options(NamedTuple):
    """Which trials of a plan are launched, and how many at a time.

    Attributes:
        max_parallel: Trials at a time.
        retry_failed: Whether trials that failed before are launched again.
    """

    max_parallel: int = 1
    retry_failed: bool = False


class Launch:
    """One launch of one plan.

    Attributes:
        observer: Reads what becomes of the trials.
        missing: The trials that are launched, in the order of the plan, but first those whose jobs
            are there already.
        stopped: Why not all of them were started; empty if they were.
    """

    def __init__(
        self,
        plan: Plan,
        workdir: SweepWorkdir,
        executor: Executor,
        options: Options,
        costs: Mapping[str, Cost] | None = None,
    ) -> None:
        """Looks at what is there.

        Args:
            plan: What to launch.
            workdir: Where to.
            executor: What runs the trials.
            options: Which, and how many at a time.
            costs: What each arm costs, by its label, to be noted in the workdir.
        """
        self.observer = Observer(workdir, plan)
        self.stopped = ""
        self._plan = plan
        self._workdir = workdir
        self._executor = executor
        self._options = options
        self._costs = costs or {}
        self._breaker = Breaker()
        self._asked_to_end = False
        self._stops: dict[tuple[str, int], int] = {}
        there = {"finished"} if options.retry_failed else {"finished", "failed"}
        rows = {row.id: row for row in self.observer.rows()}
        missing = [it for it in plan.trials if rows[it.id].status not in there]
        self._alive = {
            it.id for it in missing if executor.jobs_outlive_launchers
            and rows[it.id].status in ("running", "queued")}
        self.missing = sorted(missing, key=lambda it: it.id not in self._alive)
        # Not to be taken for what this launch has shown to work.
        self._steps_before = {it.id: rows[it.id].step for it in self.missing}

    def run(self) -> None:
        """Run all missing trials; returns once none is running, or it was asked to end.

        Raises:
            UserError: If another launcher is at work here, or the workdir cannot be written.
        """
        with self._executor.alone():
            folder = self._workdir.new_launch()
            files = dict.fromkeys(name for it in self._plan.trials for name in it.trial.gin_files)
            provenance.record(folder, bindings.imported_modules(list(files)))
            self._workdir.write_plan(self._plan)
            self._workdir.write_costs(self._plan, self._costs)
            if self.missing:
                asyncio.run(self._run(folder))

    async def _run(self, folder: os.PathLike[str]) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._stop)
        waiting = deque(self.missing)
        running: dict[asyncio.Task[None], PlannedTrial] = {}
        ended: list[PlannedTrial] = []
        async with self._executor.trials(self._plan, folder) as run_trial:
            while running or ended or (waiting and not self.stopped):
                while waiting and not self.stopped and self._may_start(waiting[0], running):
                    planned = waiting.popleft()
                    running[loop.create_task(self._trial(planned, run_trial))] = planned
                for task in await self._some_end(running):
                    task.result()
                    ended.append(running.pop(task))
                if self._asked_to_end:
                    ended.clear()
                for planned in list(ended):
                    # What cannot be read now is read the next time.
                    if (row := self._row(planned)) is not None:
                        ended.remove(planned)
                        if self._goes_on(row):
                            waiting.appendleft(planned)
                self.stopped = self.stopped or self._executor.reason_to_stop()

    async def _some_end(
        self, running: Mapping[asyncio.Task[None], PlannedTrial]
    ) -> set[asyncio.Task[None]]:
        """Wait for a while, or until a trial's jobs are over; returns those that are."""
        if not running:
            await asyncio.sleep(self._executor.seconds_between_looks)
            return set()
        done, _ = await asyncio.wait(
            running, timeout=self._executor.seconds_between_looks,
            return_when=asyncio.FIRST_COMPLETED)
        return done

    def _stop(self) -> None:
        """Has the executor come to an end; asked again, does not wait for that."""
        if self._asked_to_end:
            os._exit(130)
        self._asked_to_end = True
        self.stopped = self.stopped or self._executor.farewell
        self._executor.stop()

    def _may_start(
        self, planned: PlannedTrial, running: Mapping[asyncio.Task[None], PlannedTrial]
    ) -> bool:
        if planned.id in self._alive:
            # It is followed, not started.
            self._alive.remove(planned.id)
            return True
        if len(running) >= self._options.max_parallel:
            return False
        rows = [row for it in running.values() if (row := self._row(it)) is not None]
        proven = any(row.step > self._steps_before[row.id] for row in rows)
        return self._breaker.may_start(len(running), proven)

    def _row(self, planned: PlannedTrial) -> TrialRow | None:
        """Return how a trial is doing, or None where the workdir cannot be read just now."""
        try:
            return self.observer.row(planned)
        except OSError:
            return None

    async def _trial(self, planned: PlannedTrial, run_trial: RunTrial) -> None:
        """Run a trial, or record why none can be started."""
        try:
            await run_trial(planned)
        except (OSError, UserError) as error:
            # What keeps one trial from being started keeps all from it: a disk that is full.
            self.stopped = self.stopped or f"The trial {planned.id} cannot be started: {error}"

    def _goes_on(self, row: TrialRow) -> bool:
        """Take in how a trial ended; whether it was stopped by somebody else and go on."""
        self._breaker.note(row)
        self.stopped = self.stopped or self._breaker.message
        if row.status != "interrupted":
            return False
        stops = self._stops[row.id, row.step] = self._stops.get((row.id, row.step), 0) + 1
        return stops < _STOPS_AT_ONE_STEP


class Breaker:
    """Decides whether one more trial of a launch may start.

    The first one runs alone until it has shown that a trial can work at all. After `limit` trials
    in a row have failed of the same cause no more start. Trials end in an order of their own; "in a
    row" is in the order in which `note` hears of them.

    Args:
        limit: How many trials; the same one failing again counts once. 0: never stop.

    Attributes:
        message: Why no more trials start and how to go on; empty while they do.
    """

    def __init__(self, limit: int = 3) -> None:
        check_at_least(0, limit=limit)
        self.message = ""
        self._limit = limit
        self._proven = False
        self._cause = ""
        self._failed: set[str] = set()

    def may_start(self, running: int, has_metrics: bool = False) -> bool:
        """Return whether one more trial may start now.

        Args:
            running: How many are running.
            has_metrics: Whether a trial that was started in this launch has noted a first line of
                metrics in it. Once is enough.
        """
        self._proven = self._proven or has_metrics
        if self.message:
            return False
        return self._proven or running == 0

    def note(self, result: TrialRow) -> None:
        """Take in how a trial ended; one that was interrupted says nothing about the others."""
        if result.status == "finished":
            self._proven = True
            self._failed.clear()
        elif result.status == "failed":
            cause = normalised(result.cause)
            if cause != self._cause:
                self._failed.clear()
            self._cause = cause
            self._failed.add(result.id)
            if self._limit and len(self._failed) >= self._limit:
                self.message = (
                    f"{len(self._failed)} trials in a row have failed of the same cause, so no "
                    f"more are started: {result.cause or 'no cause is known'} (last {result.id}: "
                    f"{log_path(result)}). Mend it and launch the sweep again: what is finished "
                    "stays, and what was interrupted goes on.")
