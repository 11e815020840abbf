"""Checkpoints of a trial: numbered by its steps, written by one process, read by any."""

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
    session: Session, workdir: TrialWorkdir, chief: bool
) -> Iterator[tf.train.CheckpointManager]:
    """Yield what writes checkpoints.

    Every worker of a cluster has to take part in saving, as a variable may have a part on each. But
    only the chief's files are kept.

    Args:
        session: what is saved.
        workdir: where the chief saves it.
        chief: whether this process is the one that writes files.
    """
    with contextlib.ExitStack() as stack:
        folder = str(workdir.checkpoints) if chief else stack.enter_context(
            tempfile.TemporaryDirectory(prefix="deepmac-ablate-"))
        yield tf.train.CheckpointManager(
            session.checkpoint, folder,
            max_to_keep=session.runtime.keep_checkpoints if chief else 1)


def latest_step(workdir: TrialWorkdir) -> int | None:
    """Return the step of the latest checkpoint, or None where there is none."""
    latest = tf.train.latest_checkpoint(str(workdir.checkpoints))
    return None if latest is None else _step_of(latest)


def restore(prepared: Session | PreparedModel, workdir: TrialWorkdir) -> int | None:
    """Read the latest checkpoint, if there is one, and return its step.

    Raises:
        UserError: if checkpoints vanish while they are read.
    """
    # The trainer may delete a checkpoint while an evaluator opens it; then there is a newer one.
    for _ in range(3):
        latest = tf.train.latest_checkpoint(str(workdir.checkpoints))
        if latest is None:
            return None
        with contextlib.suppress(tf.errors.NotFoundError):
            prepared.checkpoint.restore(latest).expect_partial().assert_existing_objects_matched()
            return _step_of(latest)
    raise UserError(f"The checkpoints in {workdir.checkpoints} vanish while they are read.")


def _step_of(checkpoint: str) -> int:
    """Return the step of a checkpoint; they are numbered by it."""
    return int(checkpoint.rpartition("-")[2])
