"""Delete trials of a sweep's workdir, so that they are as if they had never been launched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.job import ROLES
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io

# Trials are moved here before their files are deleted, so that a kill leaves no half of a trial.
REMOVED = ".removed"
# On ``gs://``, where nothing can be moved at once, these name a trial until its other files are
# gone. The result, which makes it finished, is deleted first.
_LAST = ("sweep.json", "trial.json")


def list_files(folder: str, below: str = "") -> Iterator[tuple[str, int]]:
    """Yield the path below a folder and the size of each file, without following links.

    Args:
        folder: The folder, on a disk or on ``gs://``; may be missing.
        below: Path below the folder to begin at, "" or ending in a slash.
    """
    place = f"{folder}/{below}".rstrip("/")
    for entry in file_io.list_folders([place])[place]:
        path = f"{below}{entry.name}"
        if os.path.islink(f"{folder}/{path}"):  # noqa: PTH114 - fast, and False on gs://
            continue
        if entry.is_folder:
            yield from list_files(folder, f"{path}/")
        else:
            yield path, entry.size


def remove_trials(workdir: SweepWorkdir, ids: Sequence[str]) -> None:
    """Delete the folders of trials; the caller holds the lock of the launcher.

    Killed at any moment, it leaves each trial as it was or without files, on ``gs://`` maybe
    unfinished; calling it again goes on, and deletes what an earlier call has left.

    Args:
        workdir: The workdir of the sweep.
        ids: Ids of trials that are not running; those without a folder are ignored.

    Raises:
        UserError: If the folder of a trial is a link, or one of its processes lives.
        OSError: If a folder cannot be deleted.
    """
    if file_io.is_remote(workdir.path):
        for trial in ids:
            _remove_objects(epath.Path(workdir.location(trial)))
        return
    folders = [folder for trial in ids if os.path.lexists(folder := workdir.folder(trial))]
    for folder in folders:
        if folder.is_symlink():
            raise UserError(f"{folder} is a link to {folder.readlink()}; delete both by hand.")
        if any(locks.is_held(attempt.lock_path(folder, role)) for role in ROLES):
            raise UserError(
                f"A process of trial {folder.name} is running; end it, or wait for it.")
    removed = Path(workdir.path, "trials", REMOVED)
    if removed.exists():
        shutil.rmtree(removed)
    if folders:
        removed.mkdir()
        for folder in folders:
            folder.rename(removed / folder.name)
        shutil.rmtree(removed)


def _remove_objects(folder: epath.Path) -> None:
    (folder / "result.json").unlink(missing_ok=True)
    entries = file_io.list_folders([os.fspath(folder)])[os.fspath(folder)]
    for entry in entries:
        if entry.is_folder:
            (folder / entry.name).rmtree(missing_ok=True)
        elif entry.name not in _LAST:
            (folder / entry.name).unlink(missing_ok=True)
    folder.rmtree(missing_ok=True)
