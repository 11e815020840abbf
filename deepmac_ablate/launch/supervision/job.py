"""What a supervisor shall run: one command in one trial's folder."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.strict_json import from_json

if TYPE_CHECKING:
    from etils import epath

# A trial is trained and evaluated by one job, or by two that run at the same time.
ROLES = ("train", "eval")


@dataclasses.dataclass(frozen=True)
class Job:
    """One command and how it is watched.

    Where two jobs of a trial are companions, write both before either is started: a companion
    counts as failed only if it failed after this job was written.

    Attributes:
        folder: The trial's, on a disk where the job is written.
        role: "train" or "eval".
        command: The program and its arguments, run without a shell.
        cwd: The folder it runs in.
        env: Variables beside those of the supervisor; no secrets where the job is written.
        lease: The file whose lock the launcher holds, see `locks`; the job is stopped once nobody
            holds it. A launcher that takes the lock over at once takes the job over. None: the job
            does not depend on a launcher.
        silence_limit: Seconds after which a job whose files do not change has failed; 0: none.
        grace: Seconds between asking a job to end and killing it.
        heartbeat: Seconds between two states written, see `attempt`.
        companion: Another role's name; once that job has failed, this one is stopped.
    """

    folder: Path | epath.Path
    role: str
    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lease: Path | None = None
    silence_limit: float = 0.0
    grace: float = 30.0
    heartbeat: float = 5.0
    companion: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.companion not in (None, *ROLES):
            raise ValueError(f"A role is one of {ROLES}, not {self.role!r} or {self.companion!r}.")
        if not self.command:
            raise ValueError(f"The {self.role} job of {self.folder} has no command.")

    def write(self) -> Path:
        """Write the job to its folder, which exists, and return the file's path.

        Raises:
            OSError: If it cannot be written; what was there before is then still there.
        """
        fields = dataclasses.asdict(self)
        # The file's place says it, also after the sweep has been moved.
        del fields["folder"]
        fields["cwd"] = os.path.abspath(self.cwd)  # noqa: PTH100
        fields["lease"] = os.path.abspath(self.lease) if self.lease else None  # noqa: PTH100
        path = self.folder / f"job-{self.role}.json"
        # In ASCII: an argument may hold bytes that are no UTF-8, which Python keeps as surrogates.
        disk.write(path, json.dumps(fields, indent=2).encode("ascii") + b"\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `write` wrote.

        Raises:
            UserError: If there is no such file, or it is no job.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read the job {path}: {error}.") from error
        fields = from_json(text, str(path))
        try:
            return cls(folder=path.absolute().parent, **_typed(fields))
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(f"{path} is no job ({error}); launch the trial again.") from error


def _typed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job's file with the types that they have in a job."""
    lease = fields["lease"]
    return {
        **fields, "command": tuple(fields["command"]), "cwd": Path(fields["cwd"]),
        "lease": Path(lease) if lease else None,
    }
