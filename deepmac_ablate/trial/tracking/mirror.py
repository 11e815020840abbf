"""A process that follows a trial's plain files and shows them in W&B: see `mirroring`.

It ends when its standard input does, whose only word is how the trial ended.
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

from deepmac_ablate import storage
from deepmac_ablate.storage.strict_json import from_json
from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.client import Client
from deepmac_ablate.trial.tracking.offline_runs import Logged
from deepmac_ablate.trial.tracking.run_description import describe
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# How a trial ended, and the exit status that W&B shows as finished or failed; those of the command
# line and, for a process that was killed, of shells.
EXIT_CODES = {"finished": 0, "interrupted": 75, "failed": 1, "killed": 137}

_NICENESS = 10
# Errors of the client's can be pages long.
_LONGEST_LINE = 500
# The files that a mirror follows, by the trial's job.
FOLLOWED = {"train": ["metrics.jsonl", "evaluations.jsonl"], "eval": ["evaluations.jsonl"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Mirror until standard input ends; returns 1 if that failed, after a line that says so."""
    parser = argparse.ArgumentParser(description="Shows a trial's files in W&B.")
    parser.add_argument("folder", help="of the trial")
    parser.add_argument("--mode", choices=["offline", "online"], required=True)
    parser.add_argument("--job_type", choices=list(FOLLOWED), required=True)
    parser.add_argument("--poll_seconds", type=float, required=True)
    parser.add_argument("--unclaimed", required=True, help="what `claim` said before the start")
    args = parser.parse_args(argv)
    os.nice(_NICENESS)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The trainer's to heed; its end is ours.
        signal.signal(signum, signal.SIG_IGN)
    workdir, end = TrialWorkdir(args.folder), _End(args.poll_seconds)
    ended = False
    while claim(workdir.path) == args.unclaimed:
        if ended:
            # Nothing was started, and nothing is left behind.
            return 0
        ended = end.reached()
    # The client's talk goes elsewhere from now on.
    warn = functools.partial(say, descriptor=os.dup(2))
    try:
        with _files_of_client(workdir.path) as folder, _quiet(folder, args.job_type):
            try:
                _mirror(workdir, args.mode, args.job_type, folder, end, warn)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        # Of any kind: this is where all that can be wrong with the client and its server ends.
        warn(f"the trial is not tracked any more ({type(error).__name__}: {error}); it goes on "
             f"without, and {args.folder}/{offline_runs.FOLDER} has more about it")
        return 1
    return 0


def command(
    folder: str, mode: Literal["offline", "online"], job_type: str, poll_seconds: float,
    unclaimed: str,
) -> list[str]:
    """Return the command that runs `main`; see there."""
    return [
        sys.executable, "-m", __spec__.name, folder, "--mode", mode, "--job_type", job_type,
        "--poll_seconds", str(poll_seconds), "--unclaimed", unclaimed]


def claim(path: epath.Path) -> str:
    """Return what changes once a trial has been started in a folder.

    Until then a mistake may yet keep the folder as it is, and its trial may be another one.
    """
    config = path / "config.gin"
    try:
        if storage.is_remote(path):
            return str(config.stat().mtime)
        status = os.stat(config)  # noqa: PTH116 (etils has whole seconds only)
    except FileNotFoundError:
        return "none"
    return f"{status.st_ino}-{status.st_mtime_ns}"


def say(sentence: str, descriptor: int = 2) -> None:
    """Tell the user in one line, unless nobody listens."""
    line = textwrap.shorten(sentence, _LONGEST_LINE, placeholder="...")
    with contextlib.suppress(OSError):
        os.write(descriptor, f"deepmac-ablate: {line}.\n".encode())


class _End:
    """The end of the trial, as standard input tells it."""

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._said = b""
        self._reached = False

    @property
    def state(self) -> str:
        """One of `EXIT_CODES`; a trial that said nothing was killed."""
        return self._said.decode() if self._said.decode() in EXIT_CODES else "killed"

    def reached(self) -> bool:
        """Wait for the time between two looks, or for the end; returns whether it came."""
        while not self._reached and select.select([0], [], [], self._poll_seconds)[0]:
            said = os.read(0, 100)
            self._said += said
            self._reached = not said
        return self._reached


@contextlib.contextmanager
def _files_of_client(path: epath.Path) -> Iterator[epath.Path]:
    """Yield the folder on a disk in which the client makes its own: the trial's if it can be."""
    if storage.is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            yield epath.Path(folder)
    else:
        yield path


@contextlib.contextmanager
def _quiet(folder: epath.Path, job_type: str) -> Iterator[None]:
    """Send everything printed to a log, begun anew; one mirror at a time has it.

    The mirror of an attempt that has just been killed may have to finish first.
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
    description = describe(workdir, job_type)
    earlier = offline_runs.find_attempts(folder, description.run_id)
    tails = {name: Tail(workdir.path / name) for name in FOLLOWED[job_type]}
    if workdir.is_finished() and earlier and earlier[-1].exit_code == 0:
        return
    client = Client(description, mode, folder, warn)
    logged = Logged([attempt for attempt in earlier if not attempt.is_cut_off], client.received)
    for attempt in earlier:
        if attempt.is_cut_off:
            # Now that there is another file, which is about to hold all of this one.
            attempt.file.parent.rmtree()
    ended = False
    while not ended:
        # Asked first, so that all which was written before the end is read after it.
        ended = end.reached()
        rows = [from_json(line, f"A line of {workdir.path / name}")
                for name, tail in tails.items() for line in tail.new_lines()]
        for row in sorted(rows, key=lambda row: row["step"]):
            _log(client, row, logged)
    result = (workdir.read_result() or {}) if end.state == "finished" else {}
    if result and not logged.has(result["step"], "overlays"):
        try:
            client.log_pictures(result["step"], "overlays", workdir.read_overlays())
        except Exception as error:
            # The client asks the server about tables; numbers are not to suffer for pictures.
            warn(f"the pictures in {workdir.path}/overlays are not in W&B ({error})")
    client.finish({**result, "_ablate/state": end.state}, EXIT_CODES[end.state])


def _log(client: Client, row: dict, logged: Logged) -> None:
    """Log what was not logged at this step before; a step done again keeps its first numbers."""
    step = row.pop("step")
    missing = {name: value for name, value in row.items() if not logged.has(step, name)}
    if missing.keys() - {"wall_time"}:
        client.log(step, {**missing, "wall_time": row["wall_time"]})
        logged.add(step, missing)


if __name__ == "__main__":
    sys.exit(main())


class Tail:
    """The lines of a file as they come.

    Args:
        path: A file that may not be there yet.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path = path
        self._file_number: int | None = None
        self._offset = 0

    def new_lines(self) -> list[bytes]:
        """Return the whole lines that were not returned before.

        Where the file was replaced, all of its lines count as new.
        """
        if storage.is_remote(self._path):
            # Objects are replaced by each line.
            return storage.read_lines(self._path)
        try:
            file = open(self._path, "rb")  # noqa: PTH123, SIM115
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._file_number or status.st_size < self._offset:
                self._file_number, self._offset = status.st_ino, 0
            file.seek(self._offset)
            # The rest is a line that is being written, or whose writer was killed.
            lines = file.read().split(b"\n")[:-1]
        self._offset += sum(len(line) + 1 for line in lines)
        return lines
