"""Checkpoints of a trial: numbered by step, written by one process, readable by any."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.training.session import PreparedModel, Session
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


@contextlib.contextmanager
def checkpoint_manager(
    session: Session, workdir: TrialWorkdir, is_chief: bool
) -> Iterator[tf.train.CheckpointManager]:
    """Yield a manager that saves the session's checkpoints.

    Every worker of a cluster must take part in saving, as each may hold a part of a variable. Only
    the chief's files are kept.

    Args:
        session: The objects to save.
        workdir: The folder that the chief saves to.
        is_chief: Whether this process is the one that writes files.
    """
    with contextlib.ExitStack() as stack:
        folder = str(workdir.checkpoints) if is_chief else stack.enter_context(
            tempfile.TemporaryDirectory(prefix="deepmac-ablate-"))
        yield tf.train.CheckpointManager(
            session.checkpoint, folder,
            max_to_keep=session.runtime.keep_checkpoints if is_chief else 1)


def latest_step(workdir: TrialWorkdir) -> int | None:
    """Return the step of the latest checkpoint, or None if there is none."""
    latest = tf.train.latest_checkpoint(str(workdir.checkpoints))
    return None if latest is None else _step_from_path(latest)


def restore_latest(prepared: Session | PreparedModel, workdir: TrialWorkdir) -> int | None:
    """Restore the latest checkpoint and return its step, or None if there is none.

    Raises:
        UserError: If checkpoints disappear while they are read.
    """
    # The trainer may delete a checkpoint while an evaluator opens it; then there is a newer one.
    for _ in range(3):
        latest = tf.train.latest_checkpoint(str(workdir.checkpoints))
        if latest is None:
            return None
        with contextlib.suppress(tf.errors.NotFoundError):
            prepared.checkpoint.restore(latest).expect_partial().assert_existing_objects_matched()
            return _step_from_path(latest)
    raise UserError(f"The checkpoints in {workdir.checkpoints} disappear while they are read.")


def _step_from_path(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])
