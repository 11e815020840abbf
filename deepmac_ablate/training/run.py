"""One trial, from gin files to a row of numbers: the function to read first is `run`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import artifacts, overlays
from deepmac_ablate.evaluation.evaluator import EvaluationResult
from deepmac_ablate.progress import Progress
from deepmac_ablate.training.checkpointing import checkpoint_manager, latest_step, restore
from deepmac_ablate.training.multi_worker import Workers, losses_named
from deepmac_ablate.training.runtime import StopRequest
from deepmac_ablate.training.session import Session, prepare
from deepmac_ablate.training.trainer import Trainer
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

Mode = Literal["train", "eval", "train_and_eval", "continuous_eval"]

# How long `continuous_eval` waits between two looks for a checkpoint, and when it gives up.
_SECONDS_BETWEEN_LOOKS = 10.0
_SECONDS_WITHOUT_CHECKPOINT = 3600.0 * 4

# How long a request to stop waits at most, about; preemptible machines give half a minute in all.
_SECONDS_TO_HEED = 3.0


class Interrupted(Exception):  # noqa: N818 (nothing went wrong)
    """The process was asked to end; a checkpoint holds what was done."""


class Diverged(Exception):  # noqa: N818
    """The loss is no number any more."""


@losses_named()
def run(
    trial: Trial,
    workdir: TrialWorkdir,
    mode: Mode = "train_and_eval",
    runtime: Sequence[str] = (),
) -> dict | None:
    """Run a trial, or what is left of it.

    Args:
        trial: what to run.
        workdir: where its files are, and whatever an earlier attempt finished.
        mode: "train" ends with the last checkpoint; "eval" evaluates it; "train_and_eval" does
            both; "continuous_eval" evaluates each checkpoint that another process writes.
        runtime: bindings of `Runtime` for the devices that there are now; no part of the trial.

    Returns:
        The content of result.json; None in mode "train", and in all but the chief of a cluster.

    Raises:
        UserError: for a mistake in the configuration, before anything is computed.
        Interrupted: if the process was asked to end. Running the trial again continues it.
        Diverged: if the loss stopped being a number.
        WorkerLost: if another process of the cluster is gone. Running the trial again, in all of
            them, continues it.
    """
    if mode == "eval" and workdir.read_trial_id() is None:
        raise UserError(f"There is no trial to evaluate in {workdir.path}: trial.json is missing.")
    session = prepare(trial, runtime)
    workers = Workers(session.strategy)
    trains = mode in ("train", "train_and_eval")
    step = latest_step(workdir)
    if len(set(workers.all(-1 if step is None else step))) > 1:
        raise UserError(
            f"The workers of the cluster do not find the same files in {workdir.path}; a workdir "
            "has to be where all of them see it, such as on gs://.")
    if trains and step is None:
        # Before the workdir is claimed, so that a mistake leaves nothing behind.
        session.training.initialise(session.model)
    if workers.chief:
        workdir.start(trial, session.trial_id, session.config)
    if mode != "eval":
        result = workdir.read_result()
        if workers.of_chief(result is not None):
            return result if workers.chief else None
    if workers.chief:
        workdir.append_attempt({
            "mode": mode, "step": step or 0, "steps": session.training.steps,
            "runtime": list(runtime),
            **provenance.describe(bindings.imported_modules(trial.gin_files), trial.gin_files)})
    if trains:
        train(session, trial.seed, workdir, workers)
    if mode == "train":
        return None
    result = _evaluate_files(session, workdir, mode) if workers.chief else None
    # A worker that ended earlier would look as if it were lost.
    workers.wait()
    return result


def _evaluate_files(session: Session, workdir: TrialWorkdir, mode: Mode) -> dict:
    """Evaluate checkpoints and return the result, which it writes."""
    if mode == "continuous_eval":
        return evaluate_continuously(session, workdir)
    step = restore(session, workdir)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {workdir.checkpoints}.")
    return write_result(session, workdir, evaluate(session), step)


def train(session: Session, seed: int, workdir: TrialWorkdir, workers: Workers) -> None:
    """Take the steps that are left, noting metrics and checkpoints on the way."""
    training, runtime, strategy = session.training, session.runtime, session.strategy
    chief = workers.chief
    first_step = step = restore(session, workdir) or 0
    if chief:
        workdir.drop_metrics_after(first_step)

    def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training.data.dataset(
            session.model.image_size, session.model.anchors, training.seen_ids, seed, first_step,
            context)

    trainer = Trainer(
        session.model, training.losses, session.optimizer,
        strategy.distribute_datasets_from_function(dataset), strategy, seed, runtime.jit_compile)
    with StopRequest.listening() as stop, Progress("Training", training.steps, step) as progress, \
            checkpoint_manager(session, workdir, chief) as manager:
        stopping = workers.any(stop.requested)
        while step < training.steps and not stopping:
            started, previous = time.monotonic(), step
            wanted = min(_next_multiple(step, runtime.log_every), training.steps)
            while step < wanted and not stopping:
                chunk = min(wanted - step, _chunk(step - previous, time.monotonic() - started))
                chunk = workers.of_chief(chunk)
                trainer.train(tf.constant(chunk))
                step += chunk
                stopping = workers.any(stop.requested)
            report = trainer.report()
            report["steps_per_second"] = (step - previous) / (time.monotonic() - started)
            if not math.isfinite(report["total_loss"]):
                raise Diverged(
                    f"The loss is {report['total_loss']} between steps {previous} and {step}; "
                    "a lower learning rate or a longer warm-up may help.")
            if chief:
                workdir.append_metrics(step, {f"train/{k}": v for k, v in report.items()})
                workdir.write_operative_config(_operative_config(session))
                progress.update(step, loss=report["total_loss"])
            # Whoever was asked meanwhile, too.
            stopping = workers.any(stop.requested)
            due = step // runtime.checkpoint_every > previous // runtime.checkpoint_every
            if due or stopping or step == training.steps:
                manager.save(checkpoint_number=step)
                # Nobody leaves before the chief's is complete.
                workers.wait()
            every = session.evaluation.every
            if every and step // every > previous // every and step < training.steps and chief:
                workdir.append_evaluation(step, evaluate(session).scalars)
        if step < training.steps:
            raise Interrupted(
                f"Stopped at step {step} of {training.steps}; run the trial again to go on.")


def evaluate(session: Session) -> EvaluationResult:
    """Evaluate the session's model as it is now."""
    return session.evaluation.run(
        session.model, session.strategy, session.training.seen_classes)


def evaluate_continuously(session: Session, workdir: TrialWorkdir) -> dict | None:
    """Evaluate each new checkpoint until that of the last step, whose numbers are the result.

    Raises:
        UserError: if no new checkpoint has appeared for hours.
    """
    done, last_news = -1, time.monotonic()
    while True:
        step = restore(session, workdir)
        if step is not None and step > done:
            evaluated = evaluate(session)
            if step >= session.training.steps:
                return write_result(session, workdir, evaluated, step)
            workdir.append_evaluation(step, evaluated.scalars)
            done, last_news = step, time.monotonic()
        elif time.monotonic() - last_news > _SECONDS_WITHOUT_CHECKPOINT:
            raise UserError(f"No new checkpoint has appeared in {workdir.checkpoints} for hours.")
        else:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def write_result(
    session: Session, workdir: TrialWorkdir, evaluated: EvaluationResult, step: int
) -> dict:
    """Write pictures and numbers; result.json comes last, and say that the trial is finished."""
    shown = {name: evaluated.predictions[name]
             for name in ("detections", "groundtruth") if name in evaluated.predictions}
    pictures = overlays.draw_overlays(
        session.evaluation.data, evaluated.ground_truth, shown, session.training.seen_classes,
        session.evaluation.overlays)
    workdir.write_overlays({name: overlays.to_png(it) for name, it in pictures.items()})
    workdir.write_evaluation(artifacts.artifact_files(evaluated))
    result = {
        "step": step,
        "train_seconds": train_seconds(workdir.read_metrics()),
        **session.evaluation.dataset_identity(),
        **evaluated.scalars,
    }
    workdir.write_result(result)
    return result


def train_seconds(metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how long the steps of a trial took, over all attempts and without what was redone.

    Args:
        metrics: of all its steps, see `TrialWorkdir.read_metrics`; none where it was imported.
    """
    if not metrics:
        return None
    steps = [0, *(line["step"] for line in metrics)]
    return sum(
        (line["step"] - before) / line["train/steps_per_second"]
        for before, line in zip(steps, metrics, strict=False))


def _operative_config(session: Session) -> str:
    """Return what took effect, and as comments what did not."""
    lines = [bindings.operative_text().rstrip(), ""]
    if session.inactive:
        lines += ["# Not in use, because their modules are not selected:"]
        lines += [f"# {place}" for place in session.inactive]
    return "\n".join(lines) + "\n"


def _chunk(steps: int, seconds: float) -> int:
    """Return how many steps to take at once, so that a request to stop is heeded in seconds."""
    return max(1, int(_SECONDS_TO_HEED * steps / seconds)) if steps else 1


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every
