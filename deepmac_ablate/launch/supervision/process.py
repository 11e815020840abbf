"""A program that runs for this process, and does not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deepmac_ablate.errors import INTERRUPTED
from deepmac_ablate.launch.supervision import processes
from deepmac_ablate.launch.supervision.job import Job

# prctl's option, from linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Command:
    """A job's command, in a process group of its own together with what it starts.

    On Linux the kernel sends it SIGTERM when this process dies. It is started by the main thread:
    the kernel takes the end of the thread for that of the process.

    Args:
        job: What to run.
        log: The file that its output is appended to; its folder is made.
        descriptors: Open files that it inherits, as that of a lock.
        env: Variables beside those of this process and of the job.

    Attributes:
        group: The number of the process group and of its first process.

    Raises:
        OSError: If the log cannot be opened or the program cannot be started.
        ValueError: If an argument holds a zero byte, with which no program can be started.
    """

    def __init__(
        self, job: Job, log: Path, descriptors: Sequence[int], env: Mapping[str, str]
    ) -> None:
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                job.command, cwd=job.cwd, env={**os.environ, **job.env, **env},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0,
                pass_fds=tuple(descriptors), preexec_fn=_bound_to_this_process())
        self.group = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, -n after signal n; None while the first process runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Send SIGTERM to the group while its first process runs."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group while its first process runs."""
        self._signal(signal.SIGKILL)

    def end_rest(self, grace: float) -> None:
        """End what is left of the group after its first process.

        Args:
            grace: Seconds between asking and killing.
        """
        processes.end_processes(lambda: processes.group_members(self.group), grace)

    def _signal(self, signum: int) -> None:
        # Before `poll` has seen its end, the number cannot be another process's.
        if self._process.returncode is None:
            os.killpg(self.group, signum)


def _bound_to_this_process() -> Callable[[], None] | None:
    """Return what a child does before it becomes the program."""
    if sys.platform != "linux":
        return None
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        # It may have died before; then nobody would tell.
        if os.getppid() != parent:
            os._exit(INTERRUPTED)

    return bind


class Output(Protocol):
    """What takes the output of a command.

    Attributes:
        path: The file that the command writes to.
    """

    path: Path

    def keep(self, last: bool = False) -> None:
        """Bring what the command has written since to where people read it.

        Args:
            last: Whether nothing more will come, so that an unfinished line is brought too.
        """


class LogOutput:
    """Output that goes straight to the log.

    Args:
        log: The log; its folder is made once the command starts.
    """

    def __init__(self, log: Path) -> None:
        self.path = log

    def keep(self, last: bool = False) -> None:
        """Do nothing: it is there already."""
