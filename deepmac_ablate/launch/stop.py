"""Stop a sweep: end its launcher and its jobs in a cloud or on a Slurm cluster.

The launcher of such jobs may run on any machine. It is asked to start no more trials by a file in
the workdir, the stop request.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.cloud_jobs import active_jobs
from deepmac_ablate.launch.cloud_jobs.active_jobs import ActiveJob
from deepmac_ablate.launch.supervision import locks, processes
from deepmac_ablate.launch.sweep_workdir import STOP_REQUEST, SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json, to_json

# Supervisors give a trainer 30 s to save before they kill it.
_SECONDS_TO_WAIT = 90.0

NO_LAUNCHER = "No launcher is running."
# Kind of launcher, in its lock, whose jobs outlive it.
REMOTE_LAUNCHER = "a launcher of jobs"
_HOW_TO_RESUME = "Launch again to resume."


def describe_launcher(workdir: SweepWorkdir) -> str:
    """Return a sentence that names the launcher of a workdir, or `NO_LAUNCHER`."""
    holder = locks.read_holder(workdir.lock)
    if holder is None:
        return NO_LAUNCHER
    return f"A launcher is running: process {holder.get('pid')} on {holder.get('host')}."


def stop_sweep(workdir: SweepWorkdir) -> str:
    """Stop the launcher of a sweep and its jobs, and wait until they have ended.

    Returns:
        A sentence for the user about what was stopped.

    Raises:
        UserError: If the launcher and its trials run on another machine, or something does not
            end in time.
    """
    holder = locks.read_holder(workdir.lock)
    if file_io.is_remote(workdir.path) or (holder or {}).get("what") == REMOTE_LAUNCHER:
        return _stop_jobs(workdir, holder, active_jobs.read_active_jobs(workdir))
    if not locks.is_held(workdir.lock):
        jobs = active_jobs.read_active_jobs(workdir) if workdir.has_plan() else []
        return _stop_jobs(workdir, None, jobs) if jobs else NO_LAUNCHER
    holder = holder or {}
    if (host := holder.get("host")) != socket.gethostname():
        raise UserError(
            f"The launcher runs on host {host}; run 'deepmac-ablate stop {workdir.path}' there.")
    _end_launcher(workdir, holder)
    return f"Stopped. {_HOW_TO_RESUME}"


def write_stop_request(workdir: SweepWorkdir) -> None:
    """Ask the launcher of a workdir to start no more trials.

    Raises:
        OSError: If the request cannot be written.
    """
    fields = {"by": _user_name(), "host": os.uname().nodename, "time": time.time()}
    file_io.write(workdir.path / STOP_REQUEST, to_json(fields) + "\n")


def read_stop_request(workdir: SweepWorkdir) -> str:
    """Return a sentence about who wrote the stop request; empty without a request."""
    path = workdir.path / STOP_REQUEST
    text = file_io.read(path)
    if text is None:
        return ""
    fields = from_json(text, str(path))
    return f"{fields.get('by')} stopped the sweep from {fields.get('host')}."


def remove_stop_request(workdir: SweepWorkdir) -> None:
    """Remove the stop request, which was for an earlier launcher."""
    (workdir.path / STOP_REQUEST).unlink(missing_ok=True)


def _stop_jobs(
    workdir: SweepWorkdir, holder: Mapping[str, Any] | None, jobs: Sequence[ActiveJob]
) -> str:
    """Stop jobs and their launcher, if there is one, from any machine."""
    if holder is not None or jobs:
        try:
            # Slurm jobs that were interrupted read it as well, before they requeue themselves.
            write_stop_request(workdir)
        except OSError as error:
            raise UserError(f"Cannot write the workdir {workdir.path}: {error}.") from error
    if holder is not None and _is_here(holder):
        # A signal acts at once; the request only when the launcher looks for it.
        _end_launcher(workdir, holder)
        jobs = active_jobs.read_active_jobs(workdir)
    active_jobs.cancel_all(jobs)
    if not jobs:
        return "No job is running." if holder is None else f"Stopped. {_HOW_TO_RESUME}"
    return f"Stopped {count_noun(len(jobs), 'job')}. {_HOW_TO_RESUME}"


def _is_here(holder: Mapping[str, Any]) -> bool:
    """Return whether a launcher is alive on this machine; leases outlive launchers."""
    pid, started = holder.get("pid"), holder.get("process_started")
    return (
        holder.get("host") == socket.gethostname() and pid is not None and started is not None
        and processes.process_identity(pid) == started)


def _end_launcher(workdir: SweepWorkdir, holder: Mapping[str, Any]) -> None:
    """Terminate a launcher on this machine and wait until it has released its lock."""
    if "pid" not in holder:
        raise UserError(
            f"{workdir.lock} does not name the process that holds it; find it with `fuser "
            f"{workdir.lock}` and end it.")
    os.kill(holder["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while locks.is_held(workdir.lock):
        if time.monotonic() > deadline:
            raise UserError(
                f"The launcher (process {holder['pid']}) did not exit within "
                f"{_SECONDS_TO_WAIT:.0f} s. Kill it; its trials then stop by themselves.")
        time.sleep(0.2)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Users of containers may have no name.
        return str(os.getuid())
