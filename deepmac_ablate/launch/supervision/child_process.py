"""Child process of a supervisor, which does not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from deepmac_ablate.errors import FINISHED, INTERRUPTED
from deepmac_ablate.launch.supervision import processes
from deepmac_ablate.launch.supervision.handover import Offer
from deepmac_ablate.launch.supervision.job import Job

# Option of prctl, from linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class ChildProcess:
    """Running command of a job, in its own process group together with what it starts.

    On Linux the kernel sends it SIGTERM when this process dies. Start it from the main thread: the
    kernel takes the end of the starting thread for the end of the process.

    Args:
        job: Job whose command is started.
        output: Descriptor that the output goes to.
        descriptors: Open file descriptors to inherit, such as that of a lock.
        env: Environment variables in addition to those of this process and of the job.
        has_successor: Whether the command may take another job when it has finished this one.

    Attributes:
        group: ID of the process group and of its first process.

    Raises:
        OSError: If the program cannot be started.
        ValueError: If an argument contains a zero byte.
    """

    def __init__(
        self, job: Job, output: int, descriptors: Sequence[int], env: Mapping[str, str],
        has_successor: bool = False,
    ) -> None:
        self._offer = Offer() if has_successor else None
        passed = tuple(descriptors)
        if self._offer:
            env = {**env, **self._offer.environment(descriptors)}
            passed += (self._offer.descriptor,)
        self._process = subprocess.Popen(
            job.command, cwd=job.cwd, env={**os.environ, **job.env, **env},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0,
            pass_fds=passed, preexec_fn=_make_death_signal_setter())
        if self._offer:
            self._offer.close_trainers_end()
        self.group = self._process.pid

    def take(
        self, job: Job, output: int, descriptors: Sequence[int], has_successor: bool
    ) -> None:
        """Run another job in the process of the last one, which has finished and waits.

        Args:
            job: Next job, of the same working directory and environment.
            output: Descriptor that the output goes to.
            descriptors: Open file descriptors of the job's locks.
            has_successor: Whether yet another job may follow.

        Raises:
            OSError: If the process has ended.
        """
        self._offer.send(job.command, output, descriptors)
        if not has_successor:
            self.dismiss()

    def dismiss(self) -> None:
        """Let the command exit when it has finished."""
        if self._offer:
            self._offer.close()
            self._offer = None

    def poll(self) -> int | None:
        """Return the exit status, -n after signal n; 0 if it waits for a job; else None."""
        code = self._process.poll()
        if code is None and self._offer and self._offer.has_finished():
            return FINISHED
        return code

    @property
    def is_waiting(self) -> bool:
        """Whether the process lives after `poll` has returned a status, for another job."""
        return self._process.returncode is None

    def terminate(self) -> None:
        """Send SIGTERM to the group while its first process runs."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group while its first process runs."""
        self._signal(signal.SIGKILL)

    def end_remaining(self, grace: float) -> None:
        """End processes of the group that outlive its first process.

        Args:
            grace: Seconds between SIGTERM and SIGKILL.
        """
        processes.end_processes(lambda: processes.group_members(self.group), grace)

    def _signal(self, signum: int) -> None:
        # Until `poll` has seen the end, the ID cannot be reused by another process.
        if self._process.returncode is None:
            os.killpg(self.group, signum)


def _make_death_signal_setter() -> Callable[[], None] | None:
    """Return the function that a child calls before it becomes the program."""
    if sys.platform != "linux":
        return None
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        # The parent may have died before the call; then no signal would come.
        if os.getppid() != parent:
            os._exit(INTERRUPTED)

    return set_death_signal
