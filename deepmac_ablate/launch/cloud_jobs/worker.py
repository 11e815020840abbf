"""Worker of a job in a cloud or on Slurm: fetches what a trial needs, and trains it.

A worker knows of its sweep only the trial's folder, on ``gs://`` or on a disk that machines share.
A machine may vanish at any moment, and the next one continues from the last checkpoint.
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

from deepmac_ablate import errors
from deepmac_ablate.bindings.gin_files import CODE_VARIABLE
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch import machine_check
from deepmac_ablate.launch.cloud_jobs import code_snapshot
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission, read_submission
from deepmac_ablate.launch.cloud_jobs.end_notice import SECONDS_TO_ARRIVE, listening_for_end
from deepmac_ablate.launch.executor import train_command
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.attempt_store import (
    AttemptStore,
    LocalAttemptStore,
    NullAttemptStore,
)
from deepmac_ablate.launch.supervision.gcs_attempt_store import HEARTBEAT, GcsAttemptStore
from deepmac_ablate.launch.supervision.job import Job
from deepmac_ablate.launch.supervision.outcome import Outcome, supervisor_exit_status
from deepmac_ablate.launch.supervision.redacted_output import RedactedOutput
from deepmac_ablate.launch.supervision.signals import SignalListener
from deepmac_ablate.launch.supervision.supervisor import Supervisor
from deepmac_ablate.safe_text import secret_values
from deepmac_ablate.storage import file_io
from deepmac_ablate.training import tf_config
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Part of the grace period that is reserved for the last log and state; the trainer has the rest.
_SECONDS_TO_FINISH = 5.0
_SHARE_TO_FINISH = 0.25

_DISK_HEARTBEAT = 5.0

# Seconds to wait for the lock of a worker that gives no sign of life because its machine is gone.
_PATIENCE = 120.0

# Variables with the number of a machine, from 0 on: that of a pod in an indexed job of Kubernetes,
# or of a task in a step of Slurm.
INDEX_VARIABLES = ("JOB_COMPLETION_INDEX", "SLURM_PROCID")
# Port of TensorFlow's examples, for pods, which have all ports to themselves.
_PORT = 2222

# Makes the command that runs a trial from its folder, mode, tracking and bindings of `Runtime`.
MakeCommand = Callable[[str, str, str, Sequence[str]], tuple[str, ...]]


class WorkerConfig(NamedTuple):
    """Configuration of a worker.

    Attributes:
        folder: Trial folder.
        role: "train" or "eval".
        mode: Mode of the trainer.
        tracking: "off", "offline" or "online".
        code: Snapshot of gin files and modules, see `code_snapshot`, which come before those of the
            working directory; None: only those.
        runtime: Bindings of `Runtime` that the device needs.
        secrets: References to secrets by environment variable of the trainer.
        silence_limit: Seconds without a change of the trial's files after which it has failed; 0:
            no limit.
        grace: Seconds between SIGTERM and SIGKILL.
        end_notice: File by which a host of a TPU slice says that it is asked to end; None where the
            trainer runs on the machines that compute.
        hosts: Host names of the machines of the job, see `find_cluster_member`.
        check: Whether to check the machine first, and to train only if nothing has failed.
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
    end_notice: str | None = None
    hosts: tuple[str, ...] = ()
    check: bool = False


class ClusterMember(NamedTuple):
    """One of the machines that train a trial together.

    Attributes:
        is_chief: Whether this machine writes the results; a machine alone does.
        environment: Environment variables that its trainer needs in addition.
    """

    is_chief: bool
    environment: Mapping[str, str]


def run(config: WorkerConfig, make_command: MakeCommand = train_command) -> int:
    """Train the remaining part of a trial.

    Args:
        config: Configuration of the worker.
        make_command: Makes the command of the trainer.

    Returns:
        Exit status: 0 if there is a result, or the trainer has finished; 75 if it was asked to
        stop; 69 if another worker has the trial, or storage cannot be reached now; else that of the
        trainer, or 1. A submission that has failed before returns its exit status again, as the
        cluster may restart it.

    Raises:
        UserError: For an error that a restart would not cure. Once this worker has the trial, its
            state is "failed" too.
    """
    # First of all: the first process of a container ignores signals that have no handler.
    listener = SignalListener()
    member = find_cluster_member(config.hosts, os.environ)
    try:
        submission = read_submission(config.folder, config.role)
        status = _previous_exit_status(epath.Path(config.folder), config.role, submission)
        if status is not None:
            return status
        with tempfile.TemporaryDirectory(prefix="deepmac-ablate-") as scratch:
            worker = _Worker(config, make_command, member, listener, submission, Path(scratch))
            return worker.run()
    except (locks.LockHeldError, OSError) as error:
        # A restart may succeed.
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.TAKEN


def find_cluster_member(hosts: Sequence[str], environ: Mapping[str, str]) -> ClusterMember:
    """Return which of the machines of a job this one is.

    Args:
        hosts: Host names of all machines in the order of their numbers, with or without a port;
            empty for a machine alone, or if the platform sets TF_CONFIG itself, as Vertex AI does.
        environ: Environment variables; a TF_CONFIG among them is left as it is.

    Raises:
        UserError: If there are hosts but no valid number, or TF_CONFIG is broken.
    """
    if environ.get(tf_config.VARIABLE) is not None or not hosts:
        return ClusterMember(tf_config.read_task(environ).is_chief, {})
    variable = next(filter(environ.get, INDEX_VARIABLES), INDEX_VARIABLES[0])
    number = environ.get(variable, "")
    if not (number.isdigit() and int(number) < len(hosts)):
        raise UserError(
            f"{variable} must be a number from 0 to {len(hosts) - 1}, as --hosts names "
            f"{count_noun(len(hosts), 'machine')}; got {number!r}.")
    cluster = json.dumps({
        "cluster": {"worker": [host if ":" in host else f"{host}:{_PORT}" for host in hosts]},
        "task": {"type": "worker", "index": int(number)}})
    return ClusterMember(number == "0", {tf_config.VARIABLE: cluster})


def _previous_exit_status(
    folder: epath.Path, role: str, submission: Submission | None
) -> int | None:
    """Return the exit status of work that is complete; None if work is left.

    Failures of earlier submissions are ignored: the new one is a request to try again.
    """
    if TrialWorkdir(folder).is_finished():
        return errors.FINISHED
    last = attempt.read_attempt(folder, role)
    if submission is None or last is None or last.submission != submission.number:
        return None
    if last.state in ("interrupted", "running"):
        return None
    return supervisor_exit_status(Outcome(last.state, last.cause), last.exit_code)


class _Worker:
    """Worker of an unfinished trial.

    Args:
        config: Configuration of the worker.
        make_command: Makes the command of the trainer.
        member: This machine among those of the job.
        listener: Reports whether the worker was asked to stop.
        submission: Submission of the job; None if no launcher submitted it.
        scratch: Empty folder on this machine.
    """

    def __init__(
        self, config: WorkerConfig, make_command: MakeCommand, member: ClusterMember,
        listener: SignalListener, submission: Submission | None, scratch: Path,
    ) -> None:
        self._config = config
        self._make_command = make_command
        self._member = member
        self._listener = listener
        self._submission = submission
        self._scratch = scratch
        self._is_remote = file_io.is_remote(config.folder)

    def run(self) -> int:
        """Train, as the chief or for the chief; return the exit status."""
        if self._member.is_chief:
            with self._open_store() as store, listening_for_end(self._config.end_notice):
                return self._train(self._config, store)
        # The chief tracks the trial and watches its files.
        config = self._config._replace(tracking="off", silence_limit=0.0)
        return self._train(config, NullAttemptStore(self._scratch / "log"))

    def _train(self, config: WorkerConfig, store: AttemptStore) -> int:
        written, number = time.time(), None
        if self._submission is not None:
            written, number = self._submission.submitted, self._submission.number
        supervisor = Supervisor(config.role, store, self._listener, written, number)
        try:
            if config.check:
                machine_check.require_machine(config.folder, config.runtime)
            job, output = self._prepare(config, store)
        except UserError as error:
            if not isinstance(error, OSError):
                supervisor.fail(str(error))
            raise
        return supervisor.run(job, output)

    @contextlib.contextmanager
    def _open_store(self) -> Iterator[AttemptStore]:
        """Yield the store of the attempt, and lock out other workers in the meantime.

        Raises:
            LockHeldError: If another worker has the trial.
            UserError: If the folder cannot be read or written.
        """
        folder, role = self._config.folder, self._config.role
        holder = locks.describe_this_process(f"a worker of its {role} job")
        path = f"{folder}/{attempt.lock_path('', role)}"
        with locks.acquire(path, holder, _PATIENCE) as lock:
            if self._is_remote:
                yield GcsAttemptStore(
                    epath.Path(folder), role, lock, self._scratch, self._listener,
                    _seconds_to_finish(self._config.grace))
            else:
                yield LocalAttemptStore(Path(folder), role, lock, _DISK_HEARTBEAT)

    def _prepare(self, config: WorkerConfig, store: AttemptStore) -> tuple[Job, RedactedOutput]:
        """Fetch code and secrets; return the job and the destination of its output.

        Raises:
            UserError: If the code or a secret cannot be fetched.
        """
        secrets = _fetch_secrets(config.secrets)
        cwd, code = Path.cwd(), {}
        if config.code is not None:
            code_snapshot.fetch(config.code, self._scratch / "code")
            if self._is_remote:
                cwd = self._scratch / "code"
            else:
                # Relative paths of datasets begin in the folder of the launch.
                code = {CODE_VARIABLE: str(self._scratch / "code")}
        job = Job(
            folder=epath.Path(config.folder), role=config.role, cwd=cwd,
            command=self._make_command(
                config.folder, config.mode, config.tracking, config.runtime),
            env={**self._member.environment, **code, **secrets},
            silence_limit=config.silence_limit, grace=_seconds_to_save(config),
            heartbeat=HEARTBEAT if self._is_remote else _DISK_HEARTBEAT,
            companion="train" if config.role == "eval" else None)
        hidden = [*secrets.values(), *secret_values(os.environ)]
        output = RedactedOutput(store.log, hidden, sys.stdout.buffer)
        return job, output


def _fetch_secrets(references: Mapping[str, str]) -> dict[str, str]:
    if not references:
        return {}
    from deepmac_ablate.cloud import secrets

    return secrets.fetch(references)


def _seconds_to_save(config: WorkerConfig) -> float:
    """Return the part of the grace period that the trainer has."""
    late = SECONDS_TO_ARRIVE if config.end_notice else 0.0
    return max(0.0, config.grace - _seconds_to_finish(config.grace) - late)


def _seconds_to_finish(grace: float) -> float:
    return min(_SECONDS_TO_FINISH, _SHARE_TO_FINISH * grace)
