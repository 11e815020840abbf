"""Who launches into a workdir, and how to make the launcher end, and its jobs in a cloud."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import stop_request
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.supervision import locks, processes
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir

# Supervisors give a trainer 30 s to save before they kill it.
_SECONDS_TO_WAIT = 90.0

NO_LAUNCHER = "No launcher is running."


def launcher_text(workdir: SweepWorkdir) -> str:
    """Say which launcher is at work in a workdir."""
    holder = locks.read_holder(workdir.lock)
    if holder is None:
        return NO_LAUNCHER
    return f"A launcher is running: process {holder.get('pid')} on {holder.get('host')}."


def stop(workdir: SweepWorkdir) -> str:
    """Ask the launcher to end, and jobs in a cloud too, and wait until they have.

    Returns:
        What happened, in a sentence.

    Raises:
        UserError: If the launcher runs on another machine and its trials do too, or something does
            not end.
    """
    if storage.is_remote(workdir.path):
        return _stop_jobs(workdir)
    if not locks.is_held(workdir.lock):
        return NO_LAUNCHER
    holder = locks.read_holder(workdir.lock) or {}
    if holder.get("host") != socket.gethostname():
        raise UserError(f"The launcher runs on {holder.get('host')}; stop it there.")
    _end(workdir, holder)
    return "Stopped; launching again goes on."


def _stop_jobs(workdir: SweepWorkdir) -> str:
    """Stop a sweep in a cloud from anywhere; its launcher sees that it shall start no more."""
    jobs = active_jobs.read_active_jobs(workdir)
    holder = locks.read_holder(workdir.lock)
    if holder is not None:
        try:
            stop_request.leave(workdir)
        except OSError as error:
            raise UserError(f"Cannot write the workdir {workdir.path}: {error}.") from error
        if _is_here(holder):
            # At once, and not only when it looks for the request.
            _end(workdir, holder)
            jobs = active_jobs.read_active_jobs(workdir)
    active_jobs.cancel_all(jobs)
    if not jobs:
        return "No job is running." if holder is None else "Stopped; launching again goes on."
    return f"Stopped {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}; launching again goes on."


def _is_here(holder: Mapping[str, Any]) -> bool:
    """Whether a launcher lives on this machine; a lock on ``gs://`` outlives its holder a while."""
    pid, started = holder.get("pid"), holder.get("process_started")
    return (
        holder.get("host") == socket.gethostname() and pid is not None and started is not None
        and processes.process_identity(pid) == started)


def _end(workdir: SweepWorkdir, holder: Mapping[str, Any]) -> None:
    """Has a launcher on this machine end."""
    os.kill(holder["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while locks.is_held(workdir.lock):
        if time.monotonic() > deadline:
            raise UserError(
                f"The launcher (process {holder['pid']}) has not ended for "
                f"{_SECONDS_TO_WAIT:.0f} s; kill it, and its trials will stop by themselves.")
        time.sleep(0.2)
