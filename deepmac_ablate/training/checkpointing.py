"""Checkpoints of a trial: numbered by step, written by one process, readable by any.

Their files tell which ones there are: TensorFlow's list, the file "checkpoint", may be lost or
older than they are.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator

import tensorflow as tf

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.training.session import PreparedModel, Session
from deepmac_ablate.trial.trial_files import checkpoint_step
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# What TensorFlow raises for a file that is cut, altered or missing.
_DAMAGE = (tf.errors.OpError, IndexError)
_ATTEMPTS = 3


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
        if is_chief:
            _mend_list(workdir)
        yield tf.train.CheckpointManager(
            session.checkpoint, folder,
            max_to_keep=session.runtime.keep_checkpoints if is_chief else 1)


def saved_steps(workdir: TrialWorkdir) -> list[int]:
    """Return the steps of a trial's checkpoints, the latest first; damaged ones are included."""
    try:
        names = [path.name for path in workdir.checkpoints.iterdir()]
    except FileNotFoundError:
        return []
    steps = (checkpoint_step(name) for name in names)
    return sorted((step for step in steps if step is not None), reverse=True)


def restore_latest(prepared: Session | PreparedModel, workdir: TrialWorkdir) -> int | None:
    """Restore the latest checkpoint and return its step, or None if there is none.

    Raises:
        UserError: If it is damaged.
    """
    damage: Exception | None = None
    for attempt in range(_ATTEMPTS):
        steps = saved_steps(workdir)
        if not steps:
            return None
        path = _path(workdir, steps[0])
        try:
            prepared.checkpoint.restore(path).expect_partial().assert_existing_objects_matched()
            return steps[0]
        except _DAMAGE as error:
            # The trainer may just delete it, as there is a newer one.
            damage = error
            time.sleep(attempt)
    raise UserError(
        f"The checkpoint {path} is damaged: {_reason(damage)}. `deepmac-ablate train --workdir "
        f"{workdir.path}` makes it again, from an older one if there is one.") from damage


def restore_for_training(session: Session, workdir: TrialWorkdir) -> int:
    """Restore the latest whole checkpoint; return its step, or 0 if there is none.

    Every checkpoint that is passed over is named on stderr.
    """
    for step in saved_steps(workdir):
        path = _path(workdir, step)
        if damage := _find_damage(path):
            print(
                f"deepmac-ablate: The checkpoint {path} is damaged: {damage}. It is not used.",
                file=sys.stderr)
        else:
            session.checkpoint.restore(path).expect_partial().assert_existing_objects_matched()
            return step
    return 0


def drop_repeated_metrics(workdir: TrialWorkdir, step: int, checkpoint_every: int) -> None:
    """Delete the metrics of the steps after `step`, from which training continues.

    If more of them are repeated than an interruption explains, checkpoints were lost: that is said
    on stderr, and all metrics are kept in a file beside metrics.jsonl.

    Args:
        workdir: The folder of the trial.
        step: Step of the checkpoint from which training continues, or 0.
        checkpoint_every: Steps between checkpoints.
    """
    lines = workdir.read_metrics()
    done = lines[-1]["step"] if lines else 0
    # The metrics of a step are written before its checkpoint.
    if step < (done - 1) // checkpoint_every * checkpoint_every:
        kept = workdir.copy_metrics(done)
        print(
            f"deepmac-ablate: {count_noun(done, 'step')} of this trial were done, but "
            f"{workdir.checkpoints} has no whole checkpoint after step {step}; training continues "
            f"from there. The metrics so far are kept in {kept}.", file=sys.stderr)
    workdir.drop_metrics_after(step)


def _path(workdir: TrialWorkdir, step: int) -> str:
    return str(workdir.checkpoints / f"ckpt-{step}")


def _find_damage(path: str) -> str | None:
    """Return why a checkpoint cannot be read; None if all of it can be."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except _DAMAGE as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error)).splitlines()[0].rstrip(".")


def _mend_list(workdir: TrialWorkdir) -> None:
    """Let TensorFlow's list name the checkpoints that are there, so that old ones are deleted."""
    folder, steps = str(workdir.checkpoints), saved_steps(workdir)
    paths = [_path(workdir, step) for step in reversed(steps)]
    listed = tf.train.get_checkpoint_state(folder)
    if paths and (listed is None or list(listed.all_model_checkpoint_paths) != paths):
        tf.compat.v1.train.update_checkpoint_state(folder, paths[-1], paths)
