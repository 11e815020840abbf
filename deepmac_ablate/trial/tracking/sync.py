"""Upload what was tracked offline, with W&B's own command.

A trial's attempts are one run of several files, which the server takes in their order only. What is
uploaded is noted beside each file, so that nothing is uploaded twice.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.progress import track
from deepmac_ablate.trial.tracking import mirror, offline_runs
from deepmac_ablate.trial.tracking.run_description import trial_run_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_NO_KEY = "No API key configured"
# Of what W&B's command says of a failure, at the end of which it gives the reason.
_WORDS = 40
# Without them it tries for hours to reach a server that is not there, and reports to its makers.
_ENVIRONMENT = {
    "WANDB__GRAPHQL_RETRY_MAX": "2", "WANDB__FILE_STREAM_RETRY_MAX": "4",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "4", "WANDB_ERROR_REPORTING": "false"}


def complete_files(folder: str) -> None:
    """Replace files of killed mirrors, which W&B's command refuses, by complete ones.

    Args:
        folder: A sweep's workdir or a trial's folder.

    Raises:
        UserError: If it is neither.
    """
    for trial in _idle_trials(folder):
        workdir = TrialWorkdir(trial)
        for job_type in mirror.FOLLOWED:
            if _is_cut_off(workdir, job_type):
                # Its client is best kept in a process of its own.
                subprocess.run(
                    mirror.command(str(trial), "offline", job_type, 0.0, "none"), check=False,
                    input="finished" if workdir.is_finished() else "killed", text=True)


def pending_files(folder: str) -> list[epath.Path]:
    """Return the files that were not uploaded yet, trial by trial, in the order of attempts.

    Files of a trial that is being tracked right now wait until that has ended.

    Args:
        folder: A sweep's workdir or a trial's folder.

    Raises:
        UserError: If it is neither.
    """
    return [
        attempt.file for trial in _idle_trials(folder)
        for attempt in offline_runs.find_attempts(trial)
        if attempt.is_offline and not attempt.is_uploaded]


def upload(files: Sequence[epath.Path]) -> dict[epath.Path, str]:
    """Upload files one after the other.

    Where one fails, the later attempts at the same trial are not tried.

    Returns:
        Those that could not be uploaded, each with what W&B's command said of it.

    Raises:
        UserError: If W&B's command finds no API key.
    """
    failed: dict[epath.Path, str] = {}
    failed_runs: set[tuple[epath.Path, str]] = set()
    for file in track(files, len(files), "Uploading"):
        run, said = (file.parent.parent, file.name), "an earlier attempt could not be uploaded"
        if run not in failed_runs:
            said = _sync(file)
            if _NO_KEY in said:
                raise UserError(
                    "W&B has no API key here: run `wandb login`, or set WANDB_API_KEY.")
        # Its exit status is 0 after some failures too.
        if offline_runs.is_synced(file):
            offline_runs.note_upload(file)
        else:
            failed_runs.add(run)
            failed[file] = " ".join(said.rpartition("ERROR ")[2].split()[-_WORDS:])
    return failed


def _sync(file: epath.Path) -> str:
    """Upload a file and return what W&B's command said."""
    command = [sys.executable, "-m", "wandb", "sync", os.path.abspath(file)]  # noqa: PTH100
    with tempfile.TemporaryDirectory() as logs:
        # Its own logs would go to the current folder.
        done = subprocess.run(
            command, env=os.environ | _ENVIRONMENT | {"WANDB_DIR": logs, "WANDB_CACHE_DIR": logs},
            text=True, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    return done.stdout


def _is_cut_off(workdir: TrialWorkdir, job_type: str) -> bool:
    try:
        trial_id = workdir.read_trial_id()
    except UserError:
        # A broken trial is uploaded as it is.
        return False
    return trial_id is not None and any(
        attempt.is_cut_off for attempt in offline_runs.find_attempts(
            workdir.path, trial_run_id(trial_id, job_type)))


def _idle_trials(folder: str) -> list[epath.Path]:
    """Return the trials in a folder that are not being tracked right now."""
    path = epath.Path(folder)
    if storage.is_remote(path):
        raise UserError(f"Offline files are on disks only; {folder} is not on a disk.")
    trials = [path] if (path / "trial.json").exists() else sorted((path / "trials").glob("*"))
    if not trials:
        raise UserError(
            f"There is neither a trial nor a sweep in {folder}: trial.json and trials/ are missing."
        )
    return [trial for trial in trials if not _is_tracked_now(trial)]


def _is_tracked_now(trial: epath.Path) -> bool:
    """Whether a mirror is at work, which holds a lock on its log."""
    for path in (trial / offline_runs.FOLDER).glob("mirror-*.log"):
        with open(path) as log:  # noqa: PTH123
            try:
                fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False
