"""The files that W&B's client has written below a trial's folder, one an attempt."""

from __future__ import annotations

from typing import NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.tracking import wandb_file
from deepmac_ablate.tracking.wandb_file import WandbFile

# Relative to a trial's folder; the client makes it.
FOLDER = "wandb"


class Attempt(NamedTuple):
    """One file and what is in it."""

    path: epath.Path
    content: WandbFile

    @property
    def is_offline(self) -> bool:
        """Whether nothing of it has been sent to a server while it was written."""
        return self.path.parent.name.startswith("offline-")


def find(folder: epath.Path, run_id: str | None = None) -> list[Attempt]:
    """Returns the attempts at a trial, in the order in which they were started.

    Args:
        folder: Of the trial.
        run_id: The run to look for; None: all of them.

    Returns:
        Those whose client lived long enough to say what it writes.
    """
    attempts = []
    for path in sorted((folder / FOLDER).glob(f"*run-*/run-{run_id or '*'}.wandb")):
        try:
            attempt = Attempt(path, wandb_file.read(path))
        except UserError:
            # A newer client's. It was none of ours, so nothing of ours is missed.
            continue
        if attempt.content.run:
            attempts.append(attempt)
    return sorted(attempts, key=lambda attempt: attempt.content.run.started)


def logged(attempts: list[Attempt]) -> dict[int, set[str]]:
    """Returns the names that were logged, by step."""
    names: dict[int, set[str]] = {}
    for attempt in attempts:
        for row in attempt.content.history:
            if "global_step" in row:
                names.setdefault(row["global_step"], set()).update(row)
    return names
