"""Evaluation of a trial's checkpoints, and the files that hold its numbers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import artifacts, overlays
from deepmac_ablate.evaluation.evaluator import EvaluationResult
from deepmac_ablate.progress import Reached, observing
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import Session
from deepmac_ablate.trial import trial_files
from deepmac_ablate.trial.metrics_log import total_train_seconds, typical_step_seconds
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# `evaluate_continuously` polls for new checkpoints, and gives up where none appears.
_SECONDS_BETWEEN_POLLS = 10.0
_SECONDS_WITHOUT_CHECKPOINT = 3600.0 * 4


class AttemptStart(NamedTuple):
    """Start of an attempt that trains and evaluates a trial.

    Attributes:
        time: Unix time at which its process started, or took over this trial after another one.
        trials_before: Number of trials that the process has run before.
        step: Step from which training continued.
    """

    time: float
    trials_before: int = 0
    step: int = 0


def evaluate_model(session: Session, during_training: bool = False) -> EvaluationResult:
    """Evaluate the session's model with its current weights."""
    training = session.training
    return session.evaluation.evaluate(
        session.model, session.strategy, training.seen_classes, training.classes, during_training)


def append_evaluation(session: Session, workdir: TrialWorkdir, step: int) -> None:
    """Evaluate a step before the last one, and write the numbers to evaluations.jsonl."""
    with _showing_progress(workdir):
        evaluated = evaluate_model(session, during_training=True)
        workdir.append_evaluation(
            step, {"images": evaluated.num_images, **evaluated.scalars})


def evaluate_last_checkpoint(
    session: Session, workdir: TrialWorkdir, start: AttemptStart | None = None
) -> dict:
    """Evaluate the last checkpoint, write the result and return the content of result.json.

    Args:
        session: The objects of the trial.
        workdir: The folder of the trial.
        start: Start of the attempt, if it has trained, too.

    Raises:
        UserError: If there is no checkpoint.
    """
    step = restore_latest(session, workdir)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {workdir.checkpoints}.")
    return _evaluate_and_write(session, workdir, step, start)


def evaluate_continuously(session: Session, workdir: TrialWorkdir) -> dict:
    """Evaluate each new checkpoint until the one of the last step, which gives the result.

    Raises:
        UserError: If no new checkpoint has appeared for hours.
    """
    evaluated_step, last_seen = -1, time.monotonic()
    while True:
        step = restore_latest(session, workdir)
        if step is not None and step > evaluated_step:
            if step >= session.training.steps:
                return _evaluate_and_write(session, workdir, step)
            append_evaluation(session, workdir, step)
            evaluated_step, last_seen = step, time.monotonic()
        elif time.monotonic() - last_seen > _SECONDS_WITHOUT_CHECKPOINT:
            raise UserError(
                f"No new checkpoint has appeared in {workdir.checkpoints} for "
                f"{_SECONDS_WITHOUT_CHECKPOINT / 3600:g} hours.")
        else:
            time.sleep(_SECONDS_BETWEEN_POLLS)


def write_result(
    session: Session, workdir: TrialWorkdir, evaluated: EvaluationResult, step: int,
    start: AttemptStart | None = None,
) -> dict:
    """Write the files of an evaluation, result.json last, as it marks the trial as finished.

    Args:
        session: The objects of the trial.
        workdir: The folder of the trial.
        evaluated: The evaluation.
        step: The step of the evaluated checkpoint.
        start: Start of the attempt, if it has trained, too.

    Returns:
        The content of result.json.
    """
    shown = {name: evaluated.predictions[name]
             for name in ("detections", "groundtruth") if name in evaluated.predictions}
    pictures = overlays.draw_overlays(
        session.evaluation.data, evaluated.ground_truth, shown, session.training.seen_classes,
        session.evaluation.overlays)
    workdir.write_overlays(
        {image_id: overlays.to_png(picture) for image_id, picture in pictures.items()})
    workdir.write_evaluation(artifacts.artifact_files(evaluated))
    result = {
        "step": step,
        **_durations(workdir, evaluated, step, start),
        **session.evaluation.describe_images(evaluated),
        **evaluated.scalars,
    }
    workdir.write_result(result)
    return result


def _evaluate_and_write(
    session: Session, workdir: TrialWorkdir, step: int, start: AttemptStart | None = None
) -> dict:
    with _showing_progress(workdir):
        return write_result(session, workdir, evaluate_model(session), step, start)


def _durations(
    workdir: TrialWorkdir, evaluated: EvaluationResult, step: int, start: AttemptStart | None
) -> dict[str, float | int | None]:
    """Return the entries of result.json from which the time of other trials is estimated.

    `setup_seconds` is the time of the last attempt beside steps at the usual pace and this
    evaluation: imports, building, tracing, checkpoints, evaluations on the way, pictures.
    """
    metrics = workdir.read_metrics()
    step_seconds = typical_step_seconds(metrics, start.step if start else 0)
    found = {
        "train_seconds": total_train_seconds(metrics), "step_seconds": step_seconds,
        "evaluation_seconds": evaluated.seconds}
    if start is not None and step_seconds is not None:
        others = (step - start.step) * step_seconds + evaluated.seconds
        found["setup_seconds"] = max(time.time() - start.time - others, 0.0)
        found["trials_before"] = start.trials_before
    return found


@contextlib.contextmanager
def _showing_progress(workdir: TrialWorkdir) -> Iterator[None]:
    """Keep the progress of loops in the block in progress.json, which is deleted at the end.

    Only `status` needs it: if it cannot be written, the work goes on.
    """
    path = workdir.path / trial_files.PROGRESS

    def write(reached: Reached) -> None:
        with contextlib.suppress(OSError):
            file_io.write(path, to_json({**reached._asdict(), "time": time.time()}) + "\n")

    with observing(write, 10.0 if file_io.is_remote(workdir.path) else 1.0):
        yield
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
