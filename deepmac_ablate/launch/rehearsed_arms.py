"""Rehearsal of a sweep: a few steps and images of every arm, in a scratch workdir.

The arms run as in a launch, in processes of the same kind, so that what would end a trial after
hours shows at once; and they are timed (`training.rehearsal`).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.launch.durations import duration_text
from deepmac_ablate.launch.executor import JobOptions, train_command
from deepmac_ablate.launch.launcher import Launch, LaunchOptions
from deepmac_ablate.launch.local_executor import BuildCommand, LocalExecutor
from deepmac_ablate.launch.status_display import StatusDisplay
from deepmac_ablate.launch.status_rows import Pace, TrialRow
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.progress import PlainConsole
from deepmac_ablate.storage import disk
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.trial.tracking.mirror import NOT_TRACKED
from deepmac_ablate.trial.trial_files import REHEARSAL, parse_rehearsal

HOW_MEASURED = (
    "The first step, which is traced, does not count; a step is timed over the second half of 2 to "
    "20 steps, an image in a second evaluation of one batch. The rest is imports, building, "
    "tracing, a checkpoint and pictures.")

_PREFIX = "deepmac-ablate-rehearsal-"
_NOT_TRACKED = re.compile(rf"^deepmac-ablate: ({NOT_TRACKED}.*)$", re.MULTILINE)


class ArmOutcome(NamedTuple):
    """Outcome of the rehearsal of an arm.

    Attributes:
        arm: Label of the arm.
        seconds: Time that it took.
        cause: Why it failed, in one sentence; None if it has not been rehearsed; empty if all is
            well.
        log: Path of its log, which is kept if it failed; else empty.
        pace: Measured durations; None if it failed.
    """

    arm: str
    seconds: float
    cause: str | None = ""
    log: str = ""
    pace: Pace | None = None

    def line(self, width: int) -> str:
        """Return the outcome in one line, with the label in `width` columns."""
        label = f"{self.arm:<{width}}  "
        if self.cause is None:
            return f"{label}not rehearsed"
        if self.pace is None:
            return f"{label}failed: {self.cause}{f' (log: {self.log})' if self.log else ''}"
        return (
            f"{label}ok in {duration_text(self.seconds)}: {self.pace.step:.3g} s a step, "
            f"{self.pace.image:.2g} s an image, {self.pace.setup:.0f} s for the rest")


def rehearse_arms(
    plan: Plan, options: JobOptions, max_parallel: int, gpus: Sequence[str], gpus_per_trial: int,
    console: PlainConsole, build_command: BuildCommand | None = None,
) -> list[ArmOutcome]:
    """Rehearse the arms of a plan, one seed each, and return their outcomes in its order.

    Nothing remains but the logs of arms that failed, in a folder for temporary files.

    Args:
        plan: The sweep.
        options: The options of its jobs. Trials are mirrored to W&B's offline files at most.
        max_parallel: Number of arms at a time.
        gpus: The GPUs of this machine.
        gpus_per_trial: The number of GPUs of each trial.
        console: Console for the progress.
        build_command: Returns the command of a job; None for that of the trainer.

    Raises:
        UserError: If a file of the scratch workdir is broken.
    """
    # Steps are left out, as the trials stop long before the last one.
    trials = tuple(of_arm[0]._replace(steps=None) for of_arm in plan.arms.values())
    options = options._replace(
        eval_job=False, tracking="off" if options.tracking == "off" else "offline")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    workdir = SweepWorkdir(folder / "workdir")
    try:
        executor = LocalExecutor(
            workdir, options, gpus, gpus_per_trial, build_command or _rehearsal_command)
        job = Launch(
            plan._replace(trials=trials), workdir, executor,
            LaunchOptions(max_parallel, failure_limit=0))
        with StatusDisplay(job.status_reader.read_rows, console, executor.poll_seconds):
            job.run()
        interrupted = job.stop_reason == executor.shutdown_message
        return [
            ArmOutcome(row.arm, row.seconds, None)
            if interrupted and row.status not in ("finished", "failed")
            else _outcome(workdir, row, job.stop_reason)
            for row in job.status_reader.read_rows()]
    finally:
        shutil.rmtree(folder / "workdir", ignore_errors=True)
        with contextlib.suppress(OSError):
            # It stays if it holds logs.
            folder.rmdir()


def _rehearsal_command(
    folder: Path, mode: str, tracking: str, runtime: Sequence[str] = ()
) -> tuple[str, ...]:
    del mode
    return train_command(folder, "rehearse", tracking, runtime)


def _outcome(workdir: SweepWorkdir, row: TrialRow, stop_reason: str) -> ArmOutcome:
    """Return the outcome of an arm; the reason why others were not started is its own, too."""
    path = f"{workdir.location(row.id)}/{REHEARSAL}"
    if row.status != "finished" or (text := disk.read(path)) is None:
        cause = row.cause or stop_reason or "it ended without a word"
        return ArmOutcome(row.arm, row.seconds, cause, _keep_log(workdir, row))
    log = disk.read(f"{workdir.path}/{row.log}") or b""
    if untracked := _NOT_TRACKED.search(log.decode(errors="replace")):
        return ArmOutcome(row.arm, row.seconds, untracked[1], _keep_log(workdir, row))
    found = parse_rehearsal(text, path)
    return ArmOutcome(row.arm, row.seconds, pace=Pace(
        found["step_seconds"], found["setup_seconds"], found["restart_seconds"],
        found["image_seconds"], found["images"]))


def _keep_log(workdir: SweepWorkdir, row: TrialRow) -> str:
    """Move the log of an arm that failed out of the workdir, and return its path."""
    log, kept = Path(workdir.path, row.log), Path(workdir.path).parent / f"{row.id}.log"
    return str(shutil.move(log, kept)) if log.is_file() else ""
