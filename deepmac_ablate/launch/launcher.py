"""Launch the unfinished trials of a plan: compare it with its workdir, then feed an executor.

A trial depends on nothing but its folder, so a launcher may be killed at any moment: finished
trials stay finished, and the next launch resumes the others.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, check_at_least, count_noun
from deepmac_ablate.launch.continuation import Continuation, copy_shorter_trial
from deepmac_ablate.launch.durations import batch_size
from deepmac_ablate.launch.executor import Executor, RunTrials
from deepmac_ablate.launch.status_rows import TrialRow, error_signature, log_location
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial import provenance

# Runs of a trial in one launch that are interrupted from outside (by preemption, say) at one step.
_RUNS_AT_ONE_STEP = 3


class LaunchOptions(NamedTuple):
    """Selection of the trials to launch, and their number at a time.

    Attributes:
        max_parallel: Number of trials that run at a time; those of one arm may share a process, one
            after the other.
        retry_failed: Whether to launch trials that have failed before.
        failure_limit: Number of failures in a row, with the same cause, that stop the launch; 0 for
            no limit.
    """

    max_parallel: int = 1
    retry_failed: bool = False
    failure_limit: int = 3


class Launch:
    """One launch of one plan.

    Attributes:
        status_reader: Reads the status of the plan's trials.
        pending: The trials to launch, in the order of the plan, but first those whose jobs are
            already in the cloud.
        stop_reason: Why not all of them were started; empty if they were.
    """

    def __init__(
        self,
        plan: Plan,
        workdir: SweepWorkdir,
        executor: Executor,
        options: LaunchOptions,
        costs: Mapping[str, Cost] | None = None,
    ) -> None:
        """Read the workdir and select the trials to launch; nothing is changed.

        Args:
            plan: The plan to launch.
            workdir: The workdir of the sweep.
            executor: Runs the trials.
            options: Which trials to launch, and how many at a time.
            costs: The cost of each arm by its label, to be written to the workdir.
        """
        self.status_reader = StatusReader(workdir, plan)
        self.stop_reason = ""
        self._plan = plan
        self._workdir = workdir
        self._executor = executor
        self._options = options
        self._costs = costs or {}
        self._breaker = CircuitBreaker(options.failure_limit)
        self._interrupted = False
        self._runs: dict[tuple[str, int], int] = {}
        done = {"finished"} if options.retry_failed else {"finished", "failed"}
        rows = {row.id: row for row in self.status_reader.read_rows()}
        pending = [trial for trial in plan.trials if rows[trial.id].status not in done]
        self._alive = {
            trial.id for trial in pending if executor.jobs_outlive_launchers
            and rows[trial.id].status in ("running", "queued")}
        self.pending = sorted(pending, key=lambda trial: trial.id not in self._alive)
        # Earlier progress does not show that trials of this launch work.
        self._steps_before = {trial.id: rows[trial.id].step for trial in self.pending}
        self._continuations: Mapping[str, Continuation] = {}

    def continue_from(self, continuations: Mapping[str, Continuation]) -> None:
        """Let pending trials continue from shorter ones.

        Args:
            continuations: The shorter trial by the id of the longer one, see `continuation`.
        """
        self._continuations = continuations
        self._steps_before |= {trial: shorter.step for trial, shorter in continuations.items()}

    def run(self) -> None:
        """Run the pending trials; returns once none is running, or the launch was interrupted.

        Raises:
            UserError: If another launcher is using the workdir, or the workdir is not writable.
        """
        with self._executor.exclusive_access():
            folder = self._workdir.new_launch()
            files = dict.fromkeys(
                name for planned in self._plan.trials for name in planned.trial.gin_files)
            provenance.write_provenance(folder, bindings.imported_modules(list(files)))
            self._workdir.write_plan(self._plan)
            self._workdir.write_costs(self._plan, self._costs)
            if self.pending:
                asyncio.run(self._run_pending(folder))

    async def _run_pending(self, folder: os.PathLike[str]) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._interrupt)
        waiting = deque(self.pending)
        running: dict[asyncio.Task[None], Sequence[PlannedTrial]] = {}
        ended: list[Sequence[PlannedTrial]] = []
        async with self._executor.experiment(self._plan, folder) as run_trials:
            while running or ended or (waiting and not self.stop_reason):
                while waiting and not self.stop_reason and self._may_start(waiting[0], running):
                    batch = self._take_batch(waiting, running)
                    running[loop.create_task(self._run_trials(batch, run_trials))] = batch
                for task in await self._wait_for_ended(running):
                    task.result()
                    ended.append(running.pop(task))
                if self._interrupted:
                    ended.clear()
                for batch in list(ended):
                    # A status that cannot be read now is read in the next round.
                    if (rest := self._trials_to_resume(batch)) is not None:
                        ended.remove(batch)
                        waiting.extendleft(reversed(rest))
                self.stop_reason = self.stop_reason or self._executor.reason_to_stop()

    async def _wait_for_ended(
        self, running: Mapping[asyncio.Task[None], Sequence[PlannedTrial]]
    ) -> set[asyncio.Task[None]]:
        """Wait until a batch has ended, or for a while; returns those that have ended."""
        if not running:
            await asyncio.sleep(self._executor.poll_seconds)
            return set()
        done, _ = await asyncio.wait(
            running, timeout=self._executor.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        return done

    def _interrupt(self) -> None:
        """Stop the launch; a second signal exits at once."""
        if self._interrupted:
            os._exit(130)
        self._interrupted = True
        self.stop_reason = self.stop_reason or self._executor.shutdown_message
        self._executor.stop()

    def _may_start(
        self, planned: PlannedTrial, running: Mapping[asyncio.Task[None], Sequence[PlannedTrial]]
    ) -> bool:
        if planned.id in self._alive:
            # Its jobs exist already and only have to be followed.
            self._alive.remove(planned.id)
            return True
        if len(running) >= self._options.max_parallel:
            return False
        has_metrics = any(
            row.step > self._steps_before[row.id] for row in self._read_running(running))
        return self._breaker.may_start(len(running), has_metrics)

    def _read_running(
        self, running: Mapping[asyncio.Task[None], Sequence[PlannedTrial]]
    ) -> Sequence[TrialRow]:
        """Return the rows of all trials in running batches that can be read at the moment."""
        rows = (self._read_row(each) for batch in running.values() for each in batch)
        return [row for row in rows if row is not None]

    def _read_row(self, planned: PlannedTrial) -> TrialRow | None:
        """Return the row of a trial, or None if the workdir cannot be read at the moment."""
        try:
            return self.status_reader.read_row(planned)
        except OSError:
            return None

    def _take_batch(
        self,
        waiting: deque[PlannedTrial],
        running: Mapping[asyncio.Task[None], Sequence[PlannedTrial]],
    ) -> Sequence[PlannedTrial]:
        """Take the next trial, with other seeds of its arm if they may share its process."""
        number = 1
        if self._executor.shares_processes:
            unfinished = len(waiting) + sum(
                row.status != "finished" for row in self._read_running(running))
            arms = [planned.trial.arm for planned in waiting]
            number = batch_size(arms, unfinished, self._options.max_parallel)
        return [waiting.popleft() for _ in range(number)]

    async def _run_trials(self, batch: Sequence[PlannedTrial], run_trials: RunTrials) -> None:
        """Run trials one after the other; if they cannot be started, stop the launch."""
        try:
            for planned in batch:
                if (shorter := self._continuations.get(planned.id)) is not None:
                    await asyncio.to_thread(self._continue, planned, shorter)
            await run_trials(batch)
        except (OSError, UserError) as error:
            # The same obstacle, such as a full disk, would keep all other trials from starting.
            self.stop_reason = (
                self.stop_reason or f"Trial {batch[0].id} could not be started: {error}")

    def _continue(self, planned: PlannedTrial, shorter: Continuation) -> None:
        """Give a trial the files of a shorter one, unless it has been started."""
        row = self._read_row(planned)
        if row is not None and row.status == "new":
            self._workdir.prepare_trial(self._plan, planned)
            copy_shorter_trial(self._workdir, planned.id, shorter)

    def _trials_to_resume(self, batch: Sequence[PlannedTrial]) -> Sequence[PlannedTrial] | None:
        """Return the trials of an ended batch that should go on; None if that cannot be read now.

        The first that has not finished ended the batch; those behind it have not begun.
        """
        for number, planned in enumerate(batch):
            if (row := self._read_row(planned)) is None:
                return None
            resumes = self._should_resume(row) or (number > 0 and row.status == "new")
            if row.status != "finished":
                return batch[number:] if resumes else batch[number + 1:]
        return []

    def _should_resume(self, row: TrialRow) -> bool:
        """Record how a trial ended; return whether it was interrupted and should go on."""
        self._breaker.record(row)
        self.stop_reason = self.stop_reason or self._breaker.message
        # A job may be gone before it has started its trial.
        is_new = row.status == "new" and self._executor.jobs_outlive_launchers
        if row.status != "interrupted" and not is_new:
            return False
        runs = self._runs[row.id, row.step] = self._runs.get((row.id, row.step), 0) + 1
        return runs < _RUNS_AT_ONE_STEP


class CircuitBreaker:
    """Circuit breaker: stops a launch after repeated failures with the same cause.

    The first trial runs alone until it has produced metrics. After `limit` consecutive failures
    with the same cause no more trials start. Consecutive means in the order of calls of `record`.

    Args:
        limit: Number of different trials that have to fail; 0 for no limit.

    Attributes:
        message: Why no more trials start, and how to go on; empty while they may.
    """

    def __init__(self, limit: int = 3) -> None:
        check_at_least(0, limit=limit)
        self.message = ""
        self._limit = limit
        self._proven = False
        self._signature = ""
        self._failed: set[str] = set()

    def may_start(self, running: int, has_metrics: bool = False) -> bool:
        """Return whether another trial may start now.

        Args:
            running: Number of trials that are running.
            has_metrics: Whether a trial has written metrics since this launch started it. Once
                True, later values are ignored.
        """
        self._proven = self._proven or has_metrics
        if self.message:
            return False
        return self._proven or running == 0

    def record(self, result: TrialRow) -> None:
        """Record how a trial ended; interruptions are ignored."""
        if result.status == "finished":
            self._proven = True
            self._failed.clear()
        elif result.status == "failed":
            signature = error_signature(result.cause)
            if signature != self._signature:
                self._failed.clear()
            self._signature = signature
            self._failed.add(result.id)
            if self._limit and len(self._failed) >= self._limit:
                trials = count_noun(len(self._failed), "trial")
                self.message = (
                    f"{trials} in a row failed with the same cause, so no more are started: "
                    f"{result.cause or 'unknown cause'} (last: {result.id}, "
                    f"{log_location(result)}). Fix the cause and launch the sweep again with "
                    "--retry-failed; finished trials are kept and interrupted ones resume.")
