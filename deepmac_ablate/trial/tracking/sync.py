"""Upload of offline runs with W&B's own command.

The attempts at a trial are several files of one run, which the server accepts only in their order.
Each upload is recorded beside the file, so that nothing is uploaded twice.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from etils import epath

from deepmac_ablate.errors import UserError, count_noun, inflect
from deepmac_ablate.progress import track
from deepmac_ablate.storage import file_io
from deepmac_ablate.trial.tracking import mirror, offline_runs
from deepmac_ablate.trial.tracking.run_description import trial_run_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_NO_KEY = "No API key configured"
# W&B's command gives the reason for a failure in its last words.
_REASON_WORDS = 40
# Without these it tries for hours to reach a missing server, and reports errors to its makers.
_ENVIRONMENT = {
    "WANDB__GRAPHQL_RETRY_MAX": "2", "WANDB__FILE_STREAM_RETRY_MAX": "4",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "4", "WANDB_ERROR_REPORTING": "false"}


def complete_files(folder: str) -> None:
    """Replace the incomplete files of killed mirrors, which W&B's command rejects.

    Args:
        folder: A sweep's workdir or a trial's folder.

    Raises:
        UserError: If the folder is neither.
    """
    for trial in _idle_trials(folder):
        workdir = TrialWorkdir(trial)
        for job_type in mirror.FOLLOWED:
            if _is_cut_off(workdir, job_type):
                # In another process, as the client changes the state of its own.
                subprocess.run(
                    mirror.mirror_command(str(trial), "offline", job_type, 0.0, "none"),
                    check=False, text=True,
                    input="finished" if workdir.is_finished() else "killed")


def pending_files(folder: str) -> list[epath.Path]:
    """Return the files that were not uploaded yet, trial by trial, in the order of attempts.

    Trials that are being tracked at the moment are left out.

    Args:
        folder: A sweep's workdir or a trial's folder.

    Raises:
        UserError: If the folder is neither.
    """
    return [
        attempt.file for trial in _idle_trials(folder)
        for attempt in offline_runs.find_attempts(trial)
        if attempt.is_offline and not attempt.is_uploaded]


def describe_nothing_pending(folder: str) -> str:
    """Return a sentence that says why no file in a folder has to be uploaded.

    Args:
        folder: A sweep's workdir or a trial's folder.

    Raises:
        UserError: If the folder is neither.
    """
    trials = _trials(folder)
    if tracked := sum(_is_being_tracked(trial) for trial in trials):
        return (
            f"Nothing to upload yet: {count_noun(tracked, 'trial')} in {folder} "
            f"{inflect(tracked, 'is', 'are')} being tracked at the moment.")
    attempts = [each for trial in trials for each in offline_runs.find_attempts(trial)]
    if not attempts:
        return (
            f"Nothing to upload: no trial in {folder} was tracked. Trials write runs for W&B if "
            "they are started with --tracking offline; trials that have finished cannot be tracked "
            "afterwards, but `table`, `report` and notebooks need no tracking.")
    if not any(each.is_offline for each in attempts):
        return f"Nothing to upload: the trials in {folder} were tracked online."
    return f"Nothing to upload: all offline runs in {folder} were uploaded before."


def upload_files(files: Sequence[epath.Path]) -> dict[epath.Path, str]:
    """Upload files one after the other.

    If one fails, later attempts at the same trial are skipped.

    Returns:
        The files that could not be uploaded, each with the reason.

    Raises:
        UserError: If W&B's command finds no API key.
    """
    failed: dict[epath.Path, str] = {}
    failed_runs: set[tuple[epath.Path, str]] = set()
    for file in track(files, len(files), "Uploading"):
        run, output = (file.parent.parent, file.name), "an earlier attempt could not be uploaded"
        if run not in failed_runs:
            output = _run_wandb_sync(file)
            if _NO_KEY in output:
                raise UserError("W&B has no API key: run `wandb login`, or set WANDB_API_KEY.")
        # The exit status does not count, as it is 0 after some failures, too.
        if offline_runs.is_synced(file):
            offline_runs.record_upload(file)
        else:
            failed_runs.add(run)
            failed[file] = " ".join(output.rpartition("ERROR ")[2].split()[-_REASON_WORDS:])
    return failed


def _run_wandb_sync(file: epath.Path) -> str:
    """Run W&B's command to upload a file, and return its output."""
    command = [sys.executable, "-m", "wandb", "sync", os.path.abspath(file)]  # noqa: PTH100
    with tempfile.TemporaryDirectory() as logs:
        # Without these variables, its logs would go to the current folder.
        done = subprocess.run(
            command, env=os.environ | _ENVIRONMENT | {"WANDB_DIR": logs, "WANDB_CACHE_DIR": logs},
            text=True, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    return done.stdout


def _is_cut_off(workdir: TrialWorkdir, job_type: str) -> bool:
    try:
        trial_id = workdir.read_trial_id()
    except UserError:
        # The files of a broken trial are uploaded as they are.
        return False
    return trial_id is not None and any(
        attempt.is_cut_off for attempt in offline_runs.find_attempts(
            workdir.path, trial_run_id(trial_id, job_type)))


def _idle_trials(folder: str) -> list[epath.Path]:
    """Return the trials in a folder that are not being tracked at the moment."""
    return [trial for trial in _trials(folder) if not _is_being_tracked(trial)]


def _trials(folder: str) -> list[epath.Path]:
    path = epath.Path(folder)
    if file_io.is_remote(path):
        raise UserError(f"Offline runs are stored on disks only, but {folder} is not on a disk.")
    trials = [path] if (path / "trial.json").exists() else sorted((path / "trials").glob("*"))
    if not trials:
        raise UserError(
            f"There is neither a trial nor a sweep in {folder}: trial.json and trials/ are missing."
        )
    return trials


def _is_being_tracked(trial: epath.Path) -> bool:
    """Return whether a mirror of the trial is running, which holds a lock on its log."""
    for path in (trial / offline_runs.FOLDER).glob("mirror-*.log"):
        with open(path) as log:  # noqa: PTH123
            try:
                fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False
