"""The interface between a launch and the place where its trials run."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import NamedTuple, Protocol

from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.supervision.lock_holder import TTL
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.plan import Plan, PlannedTrial

# Runs trials one after the other, until one does not finish. Returns once no job is running.
RunTrials = Callable[[Sequence[PlannedTrial]], Awaitable[None]]


class JobOptions(NamedTuple):
    """Options of all jobs of a launch, on any executor; none of them changes a result.

    Attributes:
        eval_job: Whether a second job evaluates each trial while the first one trains it.
        tracking: "off", "offline" or "online".
        silence_limit: Seconds without a sign of life after which a trial has failed; 0 for no
            limit.
        grace: Seconds from the request to stop until everything that a trial runs is killed. In a
            cloud the last log and state are written within them, too.
        check: Whether each job checks its machine first, see `machine_check`.
    """

    eval_job: bool = False
    tracking: str = "off"
    silence_limit: float = 0.0
    grace: float = 30.0
    check: bool = False

    def modes(self) -> dict[str, str]:
        """Return the trainer's mode for each role of a job (see `job.ROLES`)."""
        if self.eval_job:
            return {"train": "train", "eval": "continuous_eval"}
        return {"train": "train_and_eval"}


def print_lease_note(workdir: SweepWorkdir) -> None:
    """Say on stderr if the disk of a workdir cannot lock files for all machines."""
    if not file_io.is_remote(workdir.path) and (reason := locks.find_lease_reason(workdir.lock)):
        print(
            f"{workdir.path} is on a disk that does not lock files for all machines ({reason}), so "
            f"leases are used instead: what a crash leaves behind is free after {TTL:.0f} s.",
            file=sys.stderr)


class Executor(Protocol):
    """A place where trials run.

    Attributes:
        poll_seconds: Seconds between two checks of the trials' status.
        shutdown_message: The message for the user when a launch has been interrupted.
        jobs_outlive_launchers: Whether jobs keep running when their launcher exits, so that the
            next launcher has to follow them instead of starting them again.
        shares_processes: Whether one process can run several seeds of an arm one after the other.
    """

    poll_seconds: float
    shutdown_message: str
    jobs_outlive_launchers: bool
    shares_processes: bool

    def exclusive_access(self) -> AbstractContextManager[None]:
        """Keep other launchers out of the workdir while the context lasts.

        Raises:
            UserError: If another launcher is using the workdir, or the workdir is not writable.
        """

    def experiment(
        self, plan: Plan, launch: os.PathLike[str]
    ) -> AbstractAsyncContextManager[RunTrials]:
        """Open one XManager experiment, with a work unit for each call of `RunTrials`.

        Args:
            plan: The plan to launch.
            launch: The folder of this launch.

        Yields:
            A function that runs trials, several only if `shares_processes`. It raises a
            `UserError` or an `OSError` if they cannot be started.
        """

    def reason_to_stop(self) -> str:
        """Return why no more trials may start if another process asked for that, else ""."""

    def stop(self) -> None:
        """Make running calls of `RunTrials` return soon, with or without ending their jobs."""


def train_command(
    folder: str | os.PathLike[str], mode: str, tracking: str, runtime: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command that runs a trial, on this machine or in the cloud.

    Args:
        folder: The trial's folder, with its files.
        mode: A mode of `training.run`.
        tracking: "off", "offline" or "online".
        runtime: Bindings of `Runtime` that the devices need.
    """
    bindings = [word for binding in runtime for word in ("--runtime", binding)]
    return (
        sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", os.fspath(folder),
        "--mode", mode, "--tracking", tracking, *bindings)
