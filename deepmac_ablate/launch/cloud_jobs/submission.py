"""A trial's job that was handed to a cloud: which one, and what the cloud last said of it.

It is written by whoever launches, while what the job itself does is in the state that its
supervisor writes, see `attempt`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.cloud.provider import ENDED, JobLook, State
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import from_json


@dataclasses.dataclass(frozen=True)
class Submission:
    """One job of one trial in one cloud; times are Unix times in seconds.

    Attributes:
        role: "train" or "eval".
        number: From 1 on, of the trial and the role.
        executor: "vertex" or "gke".
        place: what the cloud has to be asked with, such as project and region, by name.
        name: as in `JobRequest`.
        resource: the cloud's name for it; None until it has answered.
        device: as in `Device`.
        image: as in `JobRequest`.
        submitted: When it was about to be.
        state: What the cloud last said.
        message: As above.
        looked: When it said so.
    """

    role: str
    number: int
    executor: str
    place: dict[str, str]
    name: str
    resource: str | None
    device: str
    image: str
    submitted: float
    state: State = "queued"
    message: str = ""
    looked: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in ENDED

    def seen(self, look: JobLook, at: float) -> Submission:
        """Return it with what the cloud said at a time."""
        return dataclasses.replace(self, state=look.state, message=look.message, looked=at)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write it to a trial's folder, in place of the one before of this role.

        Raises:
            OSError: If it cannot be written.
        """
        text = json.dumps(dataclasses.asdict(self), indent=2)
        storage.write(epath.Path(folder) / file_name(self.role), text + "\n")


def file_name(role: str) -> str:
    """Return the name of the file in a trial's folder that holds the last submission of a role."""
    return f"submission-{role}.json"


def read(folder: str | os.PathLike[str], role: str) -> Submission | None:
    """Return the last submission of a role, or None where there was none.

    Raises:
        UserError: If its file is broken.
    """
    path = epath.Path(folder) / file_name(role)
    text = storage.read(path)
    return None if text is None else parse(text, str(path))


def parse(text: bytes, where: str) -> Submission:
    """Return the submission that is written in a file.

    Raises:
        UserError: If it is none; it names `where` it was read.
    """
    try:
        fields: dict[str, Any] = from_json(text, where)
        return Submission(**fields)
    except TypeError as error:
        raise UserError(f"{where} is no submission ({error}); delete it.") from error
