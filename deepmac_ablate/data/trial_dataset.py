"""Search for the datasets of trials, whose prefixes are relative to where a trial was started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.disk import is_remote
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


def find_trial_dataset(prefix: str, workdir: TrialWorkdir, identity: str | None = None) -> str:
    """Return the prefix under which a trial's dataset is found from the current folder.

    A relative prefix is searched in the current folder, in those in which the trial was started,
    and in the folder that holds the parent of the (sweep's) workdir: `project` for
    `project/runs/boxes`.

    Args:
        prefix: The prefix that the trial has bound or recorded.
        workdir: The trial's folder.
        identity: The `name@fingerprint` of the dataset, if it is known. A dataset with another one
            is only returned if no other is found.

    Raises:
        UserError: If there is no complete dataset in any of these folders.
    """
    if is_remote(prefix) or Path(prefix).expanduser().is_absolute():
        DatasetInfo.load(prefix)
        return prefix
    problem: UserError | None = None
    found, searched = "", []
    for folder in dict.fromkeys(["", *_folders(workdir)]):
        candidate = os.path.join(folder, prefix)  # noqa: PTH118
        try:
            info = DatasetInfo.load(candidate)
        except UserError as error:
            # An incomplete dataset is worth more words than a missing one.
            problem = error if problem is None or "incomplete" in str(error) else problem
            searched.append(folder)
            continue
        if identity in (None, info.identity):
            return candidate
        found = found or candidate
    if found:
        return found
    also = ", ".join(filter(None, searched))
    raise UserError(f"{problem} It was also searched in {also}." if also else str(problem))


def _folders(workdir: TrialWorkdir) -> Iterator[str]:
    # A broken attempts.jsonl has a sentence of its own.
    with contextlib.suppress(UserError):
        for start in reversed(workdir.read_attempts()):
            if start.get("folder"):
                yield start["folder"]
    if not is_remote(workdir.path):
        folder = Path(workdir.path).resolve()
        if folder.parent.name == "trials":
            folder = folder.parents[1]
        yield str(folder.parent.parent)
