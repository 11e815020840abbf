"""Job of a supervisor: one command in one trial's folder."""

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
    """One command and the rules by which it is supervised.

    Where two jobs of a trial are companions, write both before either is started: a companion
    counts as failed only if it failed after this job was written.

    Attributes:
        folder: Trial folder, on a disk if the job is written to a file.
        role: "train" or "eval".
        command: Program and arguments, run without a shell.
        cwd: Working directory of the command.
        env: Environment variables in addition to those of the supervisor; no secrets if the job is
            written to a file.
        launcher_lock: Lock file that the launcher holds; the job is stopped once no process holds
            it. A launcher that takes the lock over at once takes the job over. None: the job does
            not depend on a launcher.
        silence_limit: Seconds without a change of its files after which the job has failed; 0: no
            limit.
        grace: Seconds between SIGTERM and SIGKILL.
        heartbeat: Seconds between two writes of the attempt's state.
        companion: Role of another job of the trial; once that has failed, this one is stopped.
    """

    folder: Path | epath.Path
    role: str
    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    launcher_lock: Path | None = None
    silence_limit: float = 0.0
    grace: float = 30.0
    heartbeat: float = 5.0
    companion: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.companion not in (None, *ROLES):
            raise ValueError(
                f"Roles must be one of {ROLES}, got {self.role!r} and companion "
                f"{self.companion!r}.")
        if not self.command:
            raise ValueError(f"The {self.role} job of {self.folder} has no command.")

    def write(self) -> Path:
        """Write the job to its folder, which must exist, and return the path of the file.

        Raises:
            OSError: If the file cannot be written; the previous one is then unchanged.
        """
        fields = dataclasses.asdict(self)
        # The folder follows from the place of the file, also after the sweep has been moved.
        del fields["folder"]
        fields["cwd"] = os.path.abspath(self.cwd)  # noqa: PTH100
        lock = fields.pop("launcher_lock")
        fields["lease"] = os.path.abspath(lock) if lock else None  # noqa: PTH100
        path = self.folder / f"job-{self.role}.json"
        # ASCII: an argument may hold bytes that are not UTF-8, which Python keeps as surrogates.
        disk.write(path, json.dumps(fields, indent=2).encode("ascii") + b"\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job that `write` wrote.

        Raises:
            UserError: If the file is missing or not a valid job.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read the job {path}: {error}.") from error
        fields = from_json(text, str(path), any_bytes=True)
        try:
            return cls(folder=path.absolute().parent, **_typed_fields(fields))
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is not a valid job ({error}); launch the trial again.") from error


def _typed_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job file with the names and types of `Job`."""
    fields = dict(fields)
    lock = fields.pop("lease")
    return {
        **fields, "command": tuple(fields["command"]), "cwd": Path(fields["cwd"]),
        "launcher_lock": Path(lock) if lock else None,
    }
