"""Start of a trial's mirror beside the process that runs it, which it cannot disturb."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Literal

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io
from deepmac_ablate.trial.tracking import mirror
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

Mode = Literal["off", "offline", "online"]

# A machine that is being preempted allows half a minute in total.
_SECONDS_WHEN_INTERRUPTED = 10.0


@contextlib.contextmanager
def mirroring(
    folder: str,
    mode: Mode,
    job_type: str,
    interruption: type[BaseException] = KeyboardInterrupt,
    wait_seconds: float = 60.0,
    poll_seconds: float = 5.0,
) -> Iterator[None]:
    """Mirror a trial's folder to W&B while the context lasts.

    The mirror is a separate process that only reads. It continues should this process die, and
    neither its failure nor a missing network raises here or takes time.

    Args:
        folder: The trial's folder, which may not exist yet.
        mode: "off" does nothing; "offline" writes files below the folder, for
            ``deepmac-ablate sync``; "online" sends them, too.
        job_type: "train" follows training and evaluations; "eval" only evaluations, as a separate
            run.
        interruption: The exception by which the trial ends when it is asked to stop.
        wait_seconds: The longest time to wait at the end for the mirror to catch up; after that it
            continues on its own.
        poll_seconds: The time between reads of the files.

    Raises:
        UserError: If `mode` is "offline" and the folder is not on a disk.
    """
    if mode == "off":
        yield
        return
    path = TrialWorkdir(folder).path
    if file_io.is_remote(path):
        if mode == "offline":
            raise UserError(
                f"--tracking offline needs a workdir on a disk, got {folder}; use --tracking "
                "online.")
    else:
        folder = os.path.abspath(folder)  # noqa: PTH100 (`resolve` would follow links)
    command = mirror.mirror_command(
        folder, mode, job_type, poll_seconds, mirror.config_version(path))
    try:
        # In its own session, so that a signal to the trainer's group does not end it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        mirror.warn_user(f"{mirror.NOT_TRACKED}: {error}")
        yield
        return
    state = "failed"
    try:
        yield
        state = "finished"
    except (interruption, KeyboardInterrupt):
        state = "interrupted"
        wait_seconds = min(wait_seconds, _SECONDS_WHEN_INTERRUPTED)
        raise
    finally:
        with contextlib.suppress(OSError):
            process.stdin.write(state.encode())
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            mirror.warn_user(
                f"tracking needs more than {wait_seconds:g} s to finish; it continues on its own")
