"""What a job in a cloud does: fetches what a trial needs, and trains it under a supervisor.

The trial's folder, on ``gs://`` or on a disk that machines share, is all that a worker knows of a
sweep. A machine may vanish at any moment, and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from etils import epath

from deepmac_ablate import errors, storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import code_snapshot, submission
from deepmac_ablate.launch.cloud_jobs.secret_masking import MaskedOutput, secret_values
from deepmac_ablate.launch.cloud_jobs.submission import Submission
from deepmac_ablate.launch.executor import train_command
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.attempt_store import DiskNotes, NoNotes, Notes
from deepmac_ablate.launch.supervision.gcs_attempt_store import HEARTBEAT, RemoteNotes
from deepmac_ablate.launch.supervision.job import Job
from deepmac_ablate.launch.supervision.outcome import Outcome, status_of_supervisor
from deepmac_ablate.launch.supervision.signals import Bell
from deepmac_ablate.launch.supervision.supervisor import Supervisor
from deepmac_ablate.training import tf_config

# Of the time between being asked to end and being killed, what is left for the last log and state;
# the trainer has the rest.
_SECONDS_TO_NOTE = 5.0
_SHARE_TO_NOTE = 0.25

_DISK_HEARTBEAT = 5.0

# How long a worker is waited for that has the lock but gives no sign of life: its machine is gone.
_PATIENCE = 120.0


class Order(NamedTuple):
    """What a worker is asked to do.

    Attributes:
        folder: The trial's.
        role: "train" or "eval".
        mode: The trainer's.
        tracking: "off", "offline" or "online".
        code: Where a snapshot of gin files and modules is, see `code_snapshot`; None: they are in
            the working directory.
        runtime: Bindings of `Runtime` that the device needs.
        secrets: References to secrets by the variables that the trainer finds them in.
        silence_limit: Seconds without a sign of life after which the trainer has failed; 0: none.
        grace: Seconds between being asked to end and being killed.
        hosts: The machines of the job, see `cluster.member`.
    """

    folder: str
    role: str
    mode: str
    tracking: str
    code: str | None = None
    runtime: tuple[str, ...] = ()
    secrets: Mapping[str, str] = {}
    silence_limit: float = 0.0
    grace: float = 30.0
    hosts: tuple[str, ...] = ()


# Makes the command that runs a trial: folder, mode, tracking and bindings of `Runtime`.
Command = Callable[[str, str, str, Sequence[str]], tuple[str, ...]]


def run(order: Order, command: Command = train_command) -> int:
    """Train what is left of a trial; returns the process's exit status.

    Args:
        order: What to do.
        command: Makes the trainer's command.

    Returns:
        0 if there is a result, or the trainer has finished; 75 if it was asked to end; 69 if
        another worker has the trial, or nothing can be had of it now; else the trainer's exit
        status, or 1. A failure of this very job is not repeated, should the cluster start it
        again: its status is returned.

    Raises:
        UserError: If something is wrong that no second try would mend. Once the trial is this
            worker's, that is its state, too.
    """
    # Before anything else: a container's first process ignores a signal that it has no handler for.
    bell = Bell()
    machine = member(order.hosts, os.environ)
    try:
        submitted = submission.read(order.folder, order.role)
        if (status := _status_before(epath.Path(order.folder), order.role, submitted)) is not None:
            return status
        with tempfile.TemporaryDirectory(prefix="deepmac-ablate-") as scratch:
            return _Worker(order, command, machine, bell, submitted, Path(scratch)).run()
    except (locks.Taken, OSError) as error:
        # Another try may find it otherwise.
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.TAKEN


def _status_before(folder: epath.Path, role: str, submitted: Submission | None) -> int | None:
    """Return the exit status of work that is over already; None where there is some to do.

    A failure of an earlier submission counts for nothing: somebody wants another try.
    """
    if (folder / "result.json").exists():
        return errors.FINISHED
    last = attempt.read(folder, role)
    if submitted is None or last is None or last.submission != submitted.number:
        return None
    if last.state in ("interrupted", "running"):
        return None
    return status_of_supervisor(Outcome(last.state, last.cause), last.exit_code)


class _Worker:
    """A worker whose trial is not over yet.

    Args:
        order: What to do.
        command: Makes the trainer's command.
        member: Which machine of the job this is.
        bell: Tells that it shall end.
        submitted: The job, as it was submitted; None: by nobody.
        scratch: An empty folder on this machine.
    """

    def __init__(
        self, order: Order, command: Command, member: Member, bell: Bell,
        submitted: Submission | None, scratch: Path,
    ) -> None:
        self._order = order
        self._command = command
        self._member = member
        self._bell = bell
        self._submitted = submitted
        self._scratch = scratch
        self._is_remote = storage.is_remote(order.folder)

    def run(self) -> int:
        """Train, or help another machine to; returns the exit status."""
        if self._member.is_chief:
            with self._notes() as notes:
                return self._train(self._order, notes)
        # Its files are the chief's, and so is the judgement of their silence.
        order = self._order._replace(tracking="off", silence_limit=0.0)
        return self._train(order, NoNotes(self._scratch / "log"))

    def _train(self, order: Order, notes: Notes) -> int:
        written, number = time.time(), None
        if self._submitted is not None:
            written, number = self._submitted.submitted, self._submitted.number
        supervisor = Supervisor(order.role, notes, self._bell, written, number)
        try:
            job, output = self._prepared(order, notes)
        except UserError as error:
            if not isinstance(error, OSError):
                supervisor.fail(str(error))
            raise
        return supervisor.run(job, output)

    @contextlib.contextmanager
    def _notes(self) -> Iterator[Notes]:
        """Yield where the attempt is noted, and keep other workers out meanwhile.

        Raises:
            Taken: If another worker has the trial.
            UserError: If the folder cannot be read or written.
        """
        folder, role = self._order.folder, self._order.role
        holder = locks.this_process(f"a worker of its {role} job")
        path = f"{folder}/{attempt.lock_path('', role)}"
        with locks.acquire(path, holder, _PATIENCE) as lock:
            if self._is_remote:
                yield RemoteNotes(
                    epath.Path(folder), role, lock, self._scratch, self._bell,
                    _seconds_to_note(self._order.grace))
            else:
                yield DiskNotes(Path(folder), role, lock, _DISK_HEARTBEAT)

    def _prepared(self, order: Order, notes: Notes) -> tuple[Job, MaskedOutput]:
        """Fetch what the trainer needs; returns what to run and what takes its output.

        Raises:
            UserError: If the code or a secret cannot be had.
        """
        secrets = _fetched(order.secrets)
        cwd = Path.cwd()
        if order.code is not None:
            cwd = self._scratch / "code"
            code_snapshot.fetch(order.code, cwd)
        job = Job(
            folder=epath.Path(order.folder), role=order.role, cwd=cwd,
            command=self._command(order.folder, order.mode, order.tracking, order.runtime),
            env={**self._member.environment, **secrets}, silence_limit=order.silence_limit,
            grace=order.grace - _seconds_to_note(order.grace),
            heartbeat=HEARTBEAT if self._is_remote else _DISK_HEARTBEAT,
            companion="train" if order.role == "eval" else None)
        hidden = [*secrets.values(), *secret_values(os.environ)]
        output = MaskedOutput(self._scratch / "output", notes.log, hidden, sys.stdout.buffer)
        return job, output


def _fetched(references: Mapping[str, str]) -> dict[str, str]:
    if not references:
        return {}
    from deepmac_ablate.cloud import secrets

    return secrets.fetch(references)


def _seconds_to_note(grace: float) -> float:
    return min(_SECONDS_TO_NOTE, _SHARE_TO_NOTE * grace)


CONFIG = tf_config.VARIABLE
# Kubernetes numbers the pods of an indexed job from 0 on.
INDEX = "JOB_COMPLETION_INDEX"

# What TensorFlow's examples use; a pod has all ports to itself.
_PORT = 2222


class Member(NamedTuple):
    """One of the machines that train a trial together.

    Attributes:
        is_chief: Whether it is the one that writes; a machine alone is.
        environment: What its trainer has to be told beside what is there.
    """

    is_chief: bool
    environment: Mapping[str, str]


def member(hosts: Sequence[str], environ: Mapping[str, str]) -> Member:
    """Find out which machine this is.

    Args:
        hosts: The names of all of them, in the order of their numbers; none for a machine alone,
            or where the platform itself sets TF_CONFIG, as Vertex AI does.
        environ: The environment; a TF_CONFIG in it stays as it is.

    Raises:
        UserError: If there are hosts but no number, or TF_CONFIG is broken.
    """
    if environ.get(CONFIG) is not None or not hosts:
        return Member(tf_config.read_task(environ).is_chief, {})
    number = environ.get(INDEX, "")
    if not (number.isdigit() and int(number) < len(hosts)):
        raise UserError(
            f"{INDEX} is {number!r}, but --hosts names {len(hosts)} machines; it must be a number "
            f"from 0 to {len(hosts) - 1}.")
    config = json.dumps({
        "cluster": {"worker": [f"{host}:{_PORT}" for host in hosts]},
        "task": {"type": "worker", "index": int(number)}})
    return Member(number == "0", {CONFIG: config})
