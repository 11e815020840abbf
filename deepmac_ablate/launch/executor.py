"""What a launch asks of whatever runs its trials."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import NamedTuple, Protocol

from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# Runs a trial, and returns once none of its jobs runs any more, however they ended.
RunTrial = Callable[[PlannedTrial], Awaitable[None]]


class JobOptions(NamedTuple):
    """What the jobs of a launch are like, wherever they run; none of it changes a result.

    Attributes:
        eval_job: Whether each trial is evaluated by a second job, while it trains.
        tracking: "off", "offline" or "online".
        silence_limit: Seconds without a sign of life after which a trial has failed; 0: none.
        grace: Seconds that a trainer has to save and end once it is asked to.
    """

    eval_job: bool = False
    tracking: str = "off"
    silence_limit: float = 0.0
    grace: float = 30.0

    def modes(self) -> dict[str, str]:
        """Return the trainer's mode by the role of the job, see `job.ROLES`."""
        if self.eval_job:
            return {"train": "train", "eval": "continuous_eval"}
        return {"train": "train_and_eval"}


class Executor(Protocol):
    """Where trials run.

    Attributes:
        seconds_between_looks: How often to look at the workdir for what became of them.
        farewell: What to tell people once a launch was asked to end.
        jobs_outlive_launchers: Whether jobs go on without a launcher, so that the next one finds
            them at work and takes them up.
    """

    seconds_between_looks: float
    farewell: str
    jobs_outlive_launchers: bool

    def alone(self) -> AbstractContextManager[None]:
        """Keep other launchers out of the workdir while the context lasts.

        Raises:
            UserError: If another launcher is at work there, or the workdir cannot be written.
        """

    def trials(
        self, plan: Plan, launch: os.PathLike[str]
    ) -> AbstractAsyncContextManager[RunTrial]:
        """Make one XManager experiment; what it yields adds a work unit for each trial.

        Args:
            plan: What is launched.
            launch: The folder of the launch.

        Yields:
            What runs a trial. It raises a `UserError` or an `OSError` if the trial cannot be
            started.
        """

    def reason_to_stop(self) -> str:
        """Return why no more trials shall start, where somebody else has said so; else nothing."""

    def stop(self) -> None:
        """Has what runs a trial return soon; what that means for the trial is the executor's."""
