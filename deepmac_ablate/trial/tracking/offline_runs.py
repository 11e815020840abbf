"""The files that W&B's client has written below a trial's folder, one an attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking import wandb_file
from deepmac_ablate.trial.tracking.wandb_file import WandbFile

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


class Logged:
    """What was logged already, by step and name.

    A client that was killed while it was sending may have written what it had not sent yet, and
    sent what it had not written yet; the server knows how far it came.

    Args:
        attempts: The earlier attempts at a run.
        received: The server's next step of its own; None where it was not asked.
    """

    def __init__(self, attempts: list[Attempt], received: int | None) -> None:
        self._names: dict[int, set[str]] = {}
        self._unsent: set[tuple[int, str]] = set()
        self._received = 0
        for attempt in attempts:
            cut_off = not (
                received is None or attempt.is_offline or attempt.content.exit_code is not None)
            if cut_off:
                self._received = received
            for row in attempt.content.history:
                step = row.get("global_step")
                if cut_off and row["_step"] >= received:
                    self._unsent |= {(step, name) for name in row}
                elif step is not None:
                    self.add(step, row)

    def add(self, step: int, names: Iterable[str]) -> None:
        """Notes what is logged now."""
        self._names.setdefault(step, set()).update(names)

    def has(self, step: int, name: str) -> bool:
        """Whether a value of this name was logged at this step."""
        if name in self._names.get(step, ()):
            return True
        return step < self._received and (step, name) not in self._unsent
