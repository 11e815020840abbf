"""How the trainer of a trial is started, here and in a cloud."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def train_command(
    folder: str | os.PathLike[str], mode: str, tracking: str, runtime: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command that runs the trial in a folder.

    Args:
        folder: The trial's, with its files.
        mode: As in `training.run.run_trial`.
        tracking: "off", "offline" or "online".
        runtime: Bindings of `Runtime` that the devices need.
    """
    bindings = [word for binding in runtime for word in ("--runtime", binding)]
    return (
        sys.executable, "-m", "deepmac_ablate.cli", "train", "--workdir", os.fspath(folder),
        "--mode", mode, "--tracking", tracking, *bindings)
