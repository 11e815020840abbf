"""The mirror: a process that follows a trial's plain files and logs them to W&B.

`start_mirror.mirroring` starts it. It ends with its standard input, which consists of one word that
says how the trial ended.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import os
import select
import signal
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from etils import epath

from deepmac_ablate.storage import file_io, line_files
from deepmac_ablate.storage.strict_json import from_json
from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.offline_runs import LoggedValues
from deepmac_ablate.trial.tracking.run_description import describe_run
from deepmac_ablate.trial.tracking.wandb_run import WandbRun
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# The end of a trial, and the exit code by which W&B shows it as finished or failed: that of the
# command line or, for a killed process, of shells.
EXIT_CODES = {"finished": 0, "interrupted": 75, "failed": 1, "killed": 137}

# Beginning of the sentence that a trial's log has if the client failed.
NOT_TRACKED = "the trial is not tracked"

_NICENESS = 10
# Errors of the client can be pages long.
_LONGEST_LINE = 500
# The files that a mirror follows, by the trial's job.
FOLLOWED = {"train": ["metrics.jsonl", "evaluations.jsonl"], "eval": ["evaluations.jsonl"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Mirror until standard input ends; return 0, or 1 after a line about a failure."""
    parser = argparse.ArgumentParser(description="Mirror a trial's files to W&B.")
    parser.add_argument("folder", help="the trial's folder")
    parser.add_argument("--mode", choices=["offline", "online"], required=True)
    parser.add_argument("--job_type", choices=list(FOLLOWED), required=True)
    parser.add_argument("--poll_seconds", type=float, required=True)
    parser.add_argument(
        "--unclaimed", required=True, help="the `config_version` before the trial was started")
    args = parser.parse_args(argv)
    os.nice(_NICENESS)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The trainer handles these; the mirror ends with it.
        signal.signal(signum, signal.SIG_IGN)
    workdir, end = TrialWorkdir(args.folder), _End(args.poll_seconds)
    ended = False
    while config_version(workdir.path) == args.unclaimed:
        if ended:
            # The trial was not started, and nothing is left behind.
            return 0
        ended = end.reached()
    # From here on, everything that the client prints goes to a log.
    warn = functools.partial(warn_user, descriptor=os.dup(2))
    try:
        with _client_folder(workdir.path) as folder, _redirected_output(folder, args.job_type):
            try:
                _mirror(workdir, args.mode, args.job_type, folder, end, warn)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        # Of any kind: no failure of the client or its server may reach the trial.
        warn(f"{NOT_TRACKED} any more ({type(error).__name__}: {error}); it continues, "
             f"and {args.folder}/{offline_runs.FOLDER} holds the details")
        return 1
    return 0


def mirror_command(
    folder: str, mode: Literal["offline", "online"], job_type: str, poll_seconds: float,
    unclaimed: str,
) -> list[str]:
    """Return the command line that runs `main`."""
    return [
        sys.executable, "-m", __spec__.name, folder, "--mode", mode, "--job_type", job_type,
        "--poll_seconds", str(poll_seconds), "--unclaimed", unclaimed]


def config_version(path: epath.Path) -> str:
    """Return a text that changes when a trial is started in a folder and writes config.gin.

    Until then, the folder may hold another trial, and a mistake may prevent the start.
    """
    config = path / "config.gin"
    try:
        if file_io.is_remote(path):
            return str(config.stat().mtime)
        status = os.stat(config)  # noqa: PTH116 (etils has whole seconds only)
    except FileNotFoundError:
        return "none"
    return f"{status.st_ino}-{status.st_mtime_ns}"


def warn_user(sentence: str, descriptor: int = 2) -> None:
    """Print a sentence in one line on stderr, unless it is closed."""
    line = textwrap.shorten(sentence, _LONGEST_LINE, placeholder="...")
    with contextlib.suppress(OSError):
        os.write(descriptor, f"deepmac-ablate: {line}.\n".encode())


class Tail:
    """Reader of the new lines of a growing file.

    Args:
        path: The file, which may not exist yet.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path = path
        self._file_number: int | None = None
        self._offset = 0

    def new_lines(self) -> list[bytes]:
        """Return the complete lines that were not returned before.

        If the file was replaced, all of its lines are new.
        """
        if file_io.is_remote(self._path):
            # Objects have no place to continue from, so all lines are read again.
            return line_files.read_lines(self._path)
        try:
            file = open(self._path, "rb")  # noqa: PTH123, SIM115
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._file_number or status.st_size < self._offset:
                self._file_number, self._offset = status.st_ino, 0
            file.seek(self._offset)
            # The rest is a line that is still being written, or whose writer was killed.
            lines = file.read().split(b"\n")[:-1]
        self._offset += sum(len(line) + 1 for line in lines)
        return lines


class _End:
    """The end of the trial, as reported on standard input."""

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._received = b""
        self._reached = False

    @property
    def state(self) -> str:
        """One of `EXIT_CODES`; "killed" if the trial reported nothing."""
        return self._received.decode() if self._received.decode() in EXIT_CODES else "killed"

    def reached(self) -> bool:
        """Wait for the time between two polls or for the end, and return whether the end came."""
        while not self._reached and select.select([0], [], [], self._poll_seconds)[0]:
            received = os.read(0, 100)
            self._received += received
            self._reached = not received
        return self._reached


@contextlib.contextmanager
def _client_folder(path: epath.Path) -> Iterator[epath.Path]:
    """Yield a folder on a disk for the client's files: the trial's if that is on a disk."""
    if file_io.is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            yield epath.Path(folder)
    else:
        yield path


@contextlib.contextmanager
def _redirected_output(folder: epath.Path, job_type: str) -> Iterator[None]:
    """Redirect everything printed to a new log, which one mirror at a time holds.

    This waits for the mirror of an earlier attempt that is still finishing.
    """
    home = folder / offline_runs.FOLDER
    home.mkdir(exist_ok=True)
    with open(home / f"mirror-{job_type}.log", "a") as log:  # noqa: PTH123
        fcntl.flock(log, fcntl.LOCK_EX)
        log.truncate(0)
        for standard in (1, 2):
            os.dup2(log.fileno(), standard)
        yield


def _mirror(
    workdir: TrialWorkdir,
    mode: Literal["offline", "online"],
    job_type: str,
    folder: epath.Path,
    end: _End,
    warn: Callable[[str], None],
) -> None:
    """Log everything in the trial's folder that was not logged before, until the trial ends."""
    description = describe_run(workdir, job_type)
    earlier = offline_runs.find_attempts(folder, description.run_id)
    tails = {name: Tail(workdir.path / name) for name in FOLLOWED[job_type]}
    if workdir.is_finished() and earlier and earlier[-1].exit_code == 0:
        return
    run = WandbRun(description, mode, folder, warn)
    logged = LoggedValues(
        [attempt for attempt in earlier if not attempt.is_cut_off], run.received)
    for attempt in earlier:
        if attempt.is_cut_off:
            # The new file is about to hold all of its content.
            attempt.file.parent.rmtree()
    ended = False
    while not ended:
        # Checked first, so that everything written before the end is read after it.
        ended = end.reached()
        rows = [from_json(line, f"A line of {workdir.path / name}")
                for name, tail in tails.items() for line in tail.new_lines()]
        for row in sorted(rows, key=lambda row: row["step"]):
            _log_row(run, row, logged)
    result = (workdir.read_result() or {}) if end.state == "finished" else {}
    if result and not logged.has(result["step"], "overlays"):
        try:
            run.log_pictures(result["step"], "overlays", workdir.read_overlays())
        except Exception as error:
            # For tables the client needs the server; the numbers must not be lost for pictures.
            warn(f"the pictures in {workdir.path}/overlays are not in W&B ({error})")
    run.finish({**result, "_ablate/state": end.state}, EXIT_CODES[end.state])


def _log_row(run: WandbRun, row: dict, logged: LoggedValues) -> None:
    """Log the values that are new at this step; a repeated step keeps its first values."""
    step = row.pop("step")
    missing = {name: value for name, value in row.items() if not logged.has(step, name)}
    if missing.keys() - {"wall_time"}:
        run.log(step, {**missing, "wall_time": row["wall_time"]})
        logged.add(step, missing)


if __name__ == "__main__":
    sys.exit(main())
