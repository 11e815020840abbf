"""Who launches into a workdir, and how to make them end."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import locks
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir

# Supervisors give a trainer 30 s to save before they kill it.
_SECONDS_TO_WAIT = 90.0


def launcher_text(workdir: SweepWorkdir) -> str:
    """Says which launcher is at work in a workdir."""
    lock = Path(workdir.lock)
    if not locks.is_held(lock):
        return "No launcher is running."
    holder = locks.holder(lock) or {}
    return f"A launcher is running: process {holder.get('pid')} on {holder.get('host')}."


def stop(workdir: SweepWorkdir) -> str:
    """Asks the launcher to end and waits until it has; returns what happened.

    Raises:
        UserError: If it runs on another machine or does not end.
    """
    lock = Path(workdir.lock)
    if not locks.is_held(lock):
        return "No launcher is running."
    holder = locks.holder(lock) or {}
    if holder.get("host") != socket.gethostname():
        raise UserError(f"The launcher runs on {holder.get('host')}; stop it there.")
    os.kill(holder["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while locks.is_held(lock):
        if time.monotonic() > deadline:
            raise UserError(
                f"The launcher (process {holder['pid']}) has not ended for "
                f"{_SECONDS_TO_WAIT:.0f} s; kill it, and its trials will stop by themselves.")
        time.sleep(0.2)
    return "Stopped; launching again goes on."
