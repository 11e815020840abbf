"""The attempts at a trial that were tracked, and the values that were logged in each.

The client's files are binary. So beside each of them, the mirror records in plain JSON what it has
logged, how the attempt ended and whether it was uploaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from etils import epath

# Relative to the trial's folder; created by the client.
FOLDER = "wandb"
_NOTES = "deepmac_ablate.jsonl"


class Attempt(NamedTuple):
    """One file of the client, with the mirror's notes on it.

    Attributes:
        file: The client's file, `run-<id>.wandb`, in its own folder.
        rows: The notes on logged values: `step`, the client's `own_step` and `names`.
        exit_code: The exit code given to W&B; None if the mirror was killed or is still running.
        is_uploaded: Whether an offline file has been sent to a server.
    """

    file: epath.Path
    rows: tuple[Mapping[str, Any], ...]
    exit_code: int | None
    is_uploaded: bool

    @property
    def is_offline(self) -> bool:
        """True if nothing was sent to a server while the file was written."""
        return self.file.parent.name.startswith("offline-")

    @property
    def is_cut_off(self) -> bool:
        """True for an incomplete offline file, which `wandb sync` rejects.

        The trial's own files hold everything, so the next attempt writes a new file instead.
        """
        return self.is_offline and self.exit_code is None and not self.is_uploaded


def find_attempts(folder: epath.Path, run_id: str | None = None) -> list[Attempt]:
    """Return the attempts at a trial in the order of their starts.

    Args:
        folder: The trial's folder.
        run_id: The id of the run; None for all runs.
    """
    files = (folder / FOLDER).glob(f"*run-*/run-{run_id or '*'}.wandb")
    # The folders are named [offline-]run-<date>_<time>-<id>.
    return [_read_attempt(file) for file in sorted(
        files, key=lambda file: file.parent.name.removeprefix("offline-"))]


def add_note(folder: epath.Path, **note: Any) -> None:  # noqa: ANN401 - JSON
    """Append a note to those in an attempt's folder."""
    with (folder / _NOTES).open("a") as notes:
        notes.write(json.dumps(note) + "\n")


def record_upload(file: epath.Path) -> None:
    """Record that a file of the client was uploaded."""
    add_note(file.parent, uploaded=time.time())


def is_synced(file: epath.Path) -> bool:
    """Return whether W&B's own command has uploaded a file, by the marker that it leaves."""
    return file.with_name(f"{file.name}.synced").exists()


def _read_attempt(file: epath.Path) -> Attempt:
    notes = []
    path = file.parent / _NOTES
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():
        try:
            notes.append(json.loads(line))
        except ValueError:
            # The note was cut off by a full disk or a crash of the machine.
            continue
    return Attempt(
        file, tuple(note for note in notes if "names" in note),
        next((note["exit_code"] for note in notes if "exit_code" in note), None),
        is_synced(file) or any("uploaded" in note for note in notes))


class LoggedValues:
    """The values that were already logged, by step and name.

    A mirror that was killed while sending may have noted values that it had not sent yet, and sent
    values that it had not noted yet; the server knows which ones it received.

    Args:
        attempts: The earlier attempts at a run, without those that are replaced.
        received: The next of W&B's own steps that the server expects; None if it was not asked.
    """

    def __init__(self, attempts: list[Attempt], received: int | None) -> None:
        self._names: dict[int, set[str]] = {}
        self._unsent: set[tuple[int, str]] = set()
        self._received = 0
        for attempt in attempts:
            cut_off = not (
                received is None or attempt.is_offline or attempt.exit_code is not None)
            if cut_off:
                self._received = received
            for row in attempt.rows:
                if cut_off and row["own_step"] >= received:
                    self._unsent |= {(row["step"], name) for name in row["names"]}
                else:
                    self.add(row["step"], row["names"])

    def add(self, step: int, names: Iterable[str]) -> None:
        """Record that values are logged."""
        self._names.setdefault(step, set()).update(names)

    def has(self, step: int, name: str) -> bool:
        """Return whether a value of this name was logged at this step."""
        if name in self._names.get(step, ()):
            return True
        return step < self._received and (step, name) not in self._unsent
