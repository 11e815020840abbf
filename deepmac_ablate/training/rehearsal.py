"""Rehearsal of a trial: a few steps and images, through the same code, to find mistakes and times.

`deepmac-ablate launch --rehearse` runs it in a folder that is deleted afterwards.
"""

from __future__ import annotations

import time

from deepmac_ablate.progress import Reached, observing
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import Session
from deepmac_ablate.training.trial_evaluation import AttemptStart, evaluate_model, write_result
from deepmac_ablate.trial.trial_files import REHEARSAL
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_IMAGES = 4
# The first step is traced; further ones are taken for some seconds, as long as they are cheap.
_LEAST_STEPS = 2
_MOST_STEPS = 20
_SECONDS_OF_STEPS = 3.0


class EnoughSteps:
    """Condition that ends the training of a rehearsal; call it after each step."""

    def __init__(self) -> None:
        self._traced: float | None = None

    def __call__(self, step: int) -> bool:
        """Return whether the steps so far are enough."""
        now = time.monotonic()
        if self._traced is None:
            self._traced = now
        return step >= _LEAST_STEPS and (
            step >= _MOST_STEPS or now - self._traced >= _SECONDS_OF_STEPS)


def finish_rehearsal(
    session: Session, workdir: TrialWorkdir, start: AttemptStart, setting_up: float
) -> dict:
    """Evaluate one batch, at least four images, and write the result and the durations.

    Steps are timed over the second half of those taken, when the batches that were waiting while
    the first one was traced are used up. Images are timed in a second evaluation of the same batch.

    Args:
        session: The objects of the trial, after the steps; each was logged.
        workdir: The folder of the trial.
        start: Start of the attempt.
        setting_up: Unix time at which the process, its imports done, began with this trial.

    Returns:
        The content of result.json, which is about a part of the images.
    """
    evaluation = session.evaluation
    every, steps = evaluation.every, session.training.steps
    before_last = (steps - 1) // every if every else 0
    images = evaluation.count_images() + before_last * evaluation.count_images(True)
    step = restore_latest(session, workdir) or 0
    evaluation.images = min(
        max(_IMAGES, evaluation.data.batch_size), evaluation.count_images())
    evaluated = evaluate_model(session)
    reached: list[Reached] = []
    with observing(reached.append):
        again = evaluate_model(session)
    result = write_result(session, workdir, evaluated, step)
    times = [1 / line["train/steps_per_second"] for line in workdir.read_metrics()]
    timed = times[step // 2:]
    step_seconds = sum(timed) / len(timed)
    image_seconds = reached[-1].seconds / reached[-1].done
    setup = time.time() - start.time - again.seconds
    setup -= step * step_seconds + reached[-1].seconds
    traced = times[0] - step_seconds + evaluated.seconds - again.seconds
    file_io.write(workdir.path / REHEARSAL, to_json({
        "step_seconds": step_seconds, "timed_steps": len(timed), "image_seconds": image_seconds,
        "images": images, "setup_seconds": max(setup, 0.0),
        # Without imports and tracing, which other seeds in the same process do not repeat.
        "restart_seconds": max(setup - (setting_up - start.time) - traced, 0.0)}) + "\n")
    # Those of many arms may not fit the disk together.
    workdir.checkpoints.rmtree(missing_ok=True)
    return result
