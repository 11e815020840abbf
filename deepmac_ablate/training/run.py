"""One trial, from gin files to a row of numbers. Start reading at `run_trial`.

::

    gin files, bindings, seed
        -> prepare_session   everything that the trial binds: model, optimizer, data, devices
        -> train_model       metrics.jsonl, checkpoints/
        -> evaluate_last_checkpoint
                             per_class.csv, overlays/, ..., and at last result.json
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal

import tensorflow as tf

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.progress import Progress
from deepmac_ablate.training.checkpointing import (
    checkpoint_manager,
    drop_repeated_metrics,
    restore_for_training,
    saved_steps,
)
from deepmac_ablate.training.multi_worker import Workers, translating_worker_loss
from deepmac_ablate.training.rehearsal import EnoughSteps, finish_rehearsal
from deepmac_ablate.training.runtime import StopRequest
from deepmac_ablate.training.session import Session
from deepmac_ablate.training.session_cache import SessionCache
from deepmac_ablate.training.trainer import Trainer
from deepmac_ablate.training.trial_evaluation import (
    AttemptStart,
    append_evaluation,
    evaluate_continuously,
    evaluate_last_checkpoint,
)
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

Mode = Literal["train", "eval", "train_and_eval", "continuous_eval", "rehearse"]

# Delay until a request to stop takes effect; preemptible machines allow half a minute in total.
_SECONDS_TO_STOP = 3.0


class Interrupted(Exception):  # noqa: N818 (nothing went wrong)
    """The process was asked to stop; a checkpoint holds the progress so far."""


class Diverged(Exception):  # noqa: N818
    """The loss became NaN or infinite."""


@translating_worker_loss()
def run_trial(
    trial: Trial,
    workdir: TrialWorkdir,
    mode: Mode = "train_and_eval",
    runtime: Sequence[str] = (),
    cache: SessionCache | None = None,
    start: AttemptStart | None = None,
) -> dict | None:
    """Run a trial, or whatever part of it earlier attempts have not finished.

    Args:
        trial: The trial to run.
        workdir: The trial's folder, with the files of earlier attempts if there were any.
        mode: "train" ends with the last checkpoint; "eval" evaluates it; "train_and_eval" does
            both; "continuous_eval" evaluates each checkpoint that another process writes;
            "rehearse" takes a few steps and evaluates a few images, in a folder for nothing else.
        runtime: Bindings of `Runtime` for the devices at hand; not part of the trial.
        cache: The objects of an earlier trial of this process, which other seeds use again.
        start: The start of the attempt; None for the time of this call.

    Returns:
        The content of result.json; None in mode "train", and in all workers of a cluster but the
        chief.

    Raises:
        UserError: For a mistake in the configuration, before anything is computed.
        Interrupted: If the process was asked to stop. Running the trial again continues it.
        Diverged: If the loss became NaN or infinite.
        WorkerLost: If another worker of the cluster is gone. Running the trial again in all of
            them continues it.
    """
    if mode == "eval" and workdir.read_trial_id() is None:
        raise UserError(f"There is no trial to evaluate in {workdir.path}: trial.json is missing.")
    if mode == "rehearse" and saved_steps(workdir):
        raise UserError(
            f"{workdir.path} holds a trial that has been trained; a rehearsal needs a folder of "
            "its own.")
    called = time.time()
    session = (cache or SessionCache()).prepare(trial, runtime)
    workers = Workers(session.strategy)
    trains = mode in ("train", "train_and_eval", "rehearse")
    steps = saved_steps(workdir)
    _check_same_files(workers, workdir, steps)
    if trains and not steps:  # Before the workdir is claimed: a mistake leaves nothing behind.
        session.training.load_initial_weights(session.model)
    # Then config.gin keeps the evaluation settings of the result, which may differ from these.
    finished = workers.is_chief and mode != "eval" and workdir.is_finished()
    if finished:
        workdir.write_trial(trial, session.trial_id)
    elif workers.is_chief:
        workdir.start(trial, session.trial_id, session.config, session.training.classes.to_json())
    if workers.broadcast_from_chief(finished):
        return workdir.read_result() if workers.is_chief else None
    step = restore_for_training(session, workdir) if trains else max(steps, default=0)
    if trains and steps and not step:
        session.training.load_initial_weights(session.model)
    if workers.is_chief:
        workdir.append_attempt({
            "mode": mode, "step": step, "steps": session.training.steps,
            "runtime": list(runtime), "platform": session.runtime.describe_platform(),
            **provenance.describe_code(
                bindings.imported_modules(trial.gin_files), trial.gin_files)})
    start = (start or AttemptStart(called))._replace(step=step)
    if mode == "rehearse":
        session.runtime.log_every = 1
        train_model(session, trial.seed, workdir, workers, step, EnoughSteps())
        return finish_rehearsal(session, workdir, start, called)
    if trains:
        train_model(session, trial.seed, workdir, workers, step)
    if mode == "train":
        return None
    result = None
    if workers.is_chief:
        result = evaluate_continuously(session, workdir) if mode == "continuous_eval" else (
            evaluate_last_checkpoint(session, workdir, start if trains else None))
    # The others stay, as a worker that ended early would look lost.
    workers.wait_for_all()
    return result


def train_model(
    session: Session, seed: int, workdir: TrialWorkdir, workers: Workers, step: int = 0,
    enough: Callable[[int], bool] = lambda step: False,
) -> None:
    """Take the remaining steps, writing metrics and checkpoints along the way.

    Args:
        session: The trial's objects.
        seed: The trial's seed.
        workdir: The trial's folder.
        workers: The processes that train together; only the chief writes.
        step: The step of the session's weights, from which training continues.
        enough: Called with each step that is logged; True ends a rehearsal there.

    Raises:
        Interrupted: If the process was asked to stop before the last step.
        Diverged: If the loss became NaN or infinite.
    """
    runtime, last_step = session.runtime, session.training.steps
    if workers.is_chief:
        drop_repeated_metrics(workdir, step, runtime.checkpoint_every)
    session.trainer.start(_training_batches(session, seed, step))
    with StopRequest.listening() as stop, Progress("Training", last_step, step) as progress, \
            checkpoint_manager(session, workdir, workers.is_chief) as manager:
        stopping = workers.any_true(stop.requested)
        rehearsed = False
        while step < last_step and not (stopping or rehearsed):
            previous = step
            next_log = min((step // runtime.log_every + 1) * runtime.log_every, last_step)
            step, report = _train_until(session.trainer, step, next_log, stop, workers)
            if not math.isfinite(report["total_loss"]):
                raise Diverged(
                    f"The loss is {report['total_loss']} between steps {previous} and {step}; "
                    "a lower learning rate or a longer warm-up may help.")
            if workers.is_chief:
                workdir.append_metrics(step, {f"train/{k}": v for k, v in report.items()})
                workdir.write_operative_config(_operative_config(session))
                progress.update(step, loss=report["total_loss"])
            # Again, as a signal may have come meanwhile.
            stopping = workers.any_true(stop.requested)
            rehearsed = enough(step)
            checkpoint_due = _is_due(runtime.checkpoint_every, previous, step)
            if checkpoint_due or stopping or rehearsed or step == last_step:
                manager.save(checkpoint_number=step)
                # No worker leaves before the chief's checkpoint is complete.
                workers.wait_for_all()
            evaluation_due = _is_due(session.evaluation.every, previous, step)
            if evaluation_due and step < last_step and workers.is_chief:
                append_evaluation(session, workdir, step)
        session.trainer.stop()
        if workers.is_chief:
            workdir.complete_metrics()
        if step < last_step and not rehearsed:
            raise Interrupted(
                f"Stopped at step {step} of {last_step}; run the trial again to continue.")


def _check_same_files(workers: Workers, workdir: TrialWorkdir, steps: Sequence[int]) -> None:
    """Raise a UserError unless all workers find the same latest checkpoint."""
    if len(set(workers.gather(max(steps, default=-1)))) > 1:
        raise UserError(
            f"The workers of the cluster find different checkpoints in {workdir.path}; choose a "
            "workdir that all of them share, such as one on gs://.")


def _training_batches(
    session: Session, seed: int, first_step: int
) -> tf.distribute.DistributedDataset:
    """Return the batches of a trial from that of `first_step` on."""
    training = session.training

    def make_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training.data.dataset(
            session.model.image_size, session.model.detector.label, training.seen_ids, seed,
            first_step, context)

    return session.strategy.distribute_datasets_from_function(make_dataset)


def _train_until(
    trainer: Trainer, step: int, target: int, stop: StopRequest, workers: Workers
) -> tuple[int, dict[str, float]]:
    """Train up to a step, or until any worker is asked to stop.

    The steps are taken in chunks short enough for a request to stop to take effect in seconds. All
    workers take the same chunks: the chief's.

    Returns:
        The step that was reached, and the report of the steps taken.
    """
    first_step, started, stopping = step, time.monotonic(), False
    while step < target and not stopping:
        steps, seconds = step - first_step, time.monotonic() - started
        chunk = max(1, int(_SECONDS_TO_STOP * steps / seconds)) if steps else 1
        chunk = workers.broadcast_from_chief(min(target - step, chunk))
        trainer.train(tf.constant(chunk))
        step += chunk
        stopping = workers.any_true(stop.requested)
    report = trainer.collect_report()
    report["steps_per_second"] = (step - first_step) / (time.monotonic() - started)
    return step, report


def _is_due(every: int, previous: int, step: int) -> bool:
    """Return whether a multiple of `every` lies in (previous, step]; never if `every` is 0."""
    return every > 0 and step // every > previous // every


def _operative_config(session: Session) -> str:
    """Return the bindings that took effect, and as comments those that did not."""
    lines = [bindings.operative_text().rstrip(), ""]
    if session.inactive:
        lines += ["# Without effect, as their modules are not selected:"]
        lines += [f"# {place}" for place in session.inactive]
    return "\n".join(lines) + "\n"
