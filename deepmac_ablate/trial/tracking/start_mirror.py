"""Starts the mirror of a trial beside whoever runs it, and lets nothing that it does matter."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Literal

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking import mirror
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

Mode = Literal["off", "offline", "online"]

# A machine that is about to be taken away gives half a minute in all.
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
    """Show in W&B what is written to a trial's folder while the context lasts.

    The mirror is a process of its own that only reads. It goes on should this process die, and
    neither its failure nor a missing network raises here or takes time.

    Args:
        folder: Of the trial, whose files may not be there yet.
        mode: "off" does nothing; "offline" writes files below the folder, for
            ``deepmac-ablate sync``; "online" sends as well.
        job_type: "train" follows what is trained and evaluated; "eval" evaluations only, as a run
            of its own.
        interruption: What leaves the context when the trial was asked to end.
        wait_seconds: How long to wait at the end for the mirror to catch up; it is then left alone.
        poll_seconds: Between two looks at the files.

    Raises:
        UserError: If offline files are to be written below a folder that is on no disk.
    """
    if mode == "off":
        yield
        return
    path = TrialWorkdir(folder).path
    if storage.is_remote(path):
        if mode == "offline":
            raise UserError(
                f"--tracking offline writes files below the workdir, but {folder} is on no disk; "
                "use --tracking online.")
    else:
        folder = os.path.abspath(folder)  # noqa: PTH100 (`resolve` would follow links)
    command = mirror.command(folder, mode, job_type, poll_seconds, mirror.claim(path))
    try:
        # In a session of its own, so that what ends the trainer leaves it the time to say so.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        mirror.say(f"the trial is not tracked: {error}")
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
            mirror.say(f"tracking needs more than {wait_seconds:g} s to end; it goes on alone")
