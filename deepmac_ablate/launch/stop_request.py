"""A word to the launcher of a sweep on ``gs://``, wherever it runs: start no more trials."""

from __future__ import annotations

import getpass
import os
import time

from deepmac_ablate import storage
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage.strict_json import from_json, to_json

_NAME = "stop.json"


def leave(workdir: SweepWorkdir) -> None:
    """Leave the word in a workdir.

    Raises:
        OSError: If it cannot be written.
    """
    fields = {"by": _user(), "host": os.uname().nodename, "time": time.time()}
    storage.write(workdir.path / _NAME, to_json(fields) + "\n")


def read(workdir: SweepWorkdir) -> str:
    """Return who has left it, in one sentence; nothing where nobody has."""
    path = workdir.path / _NAME
    text = storage.read(path)
    if text is None:
        return ""
    fields = from_json(text, str(path))
    return f"{fields.get('by')} has stopped it from {fields.get('host')}."


def withdraw(workdir: SweepWorkdir) -> None:
    """Take the word back, for a launcher that starts after it."""
    (workdir.path / _NAME).unlink(missing_ok=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Containers run as users that have no name.
        return str(os.getuid())
