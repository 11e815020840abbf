"""One trial, from gin files to a row of numbers: the function to read first is `run`."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import Evaluation, Numbers
from deepmac_ablate.modeling import backbones, box_sources, checkpoints, mask_heads, optimization
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.progress import Progress
from deepmac_ablate.runtime import Runtime, StopRequest, is_chief
from deepmac_ablate.trainer import Trainer
from deepmac_ablate.trial import Trial, trial_id
from deepmac_ablate.workdir import TrialWorkdir

# Modules whose classes gin files select, though nothing here names them.
SELECTABLE = (backbones, box_sources, mask_heads, optimization)

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


@gin.register
class Training:
    """What a trial computes; with the seed, all that its results are a function of.

    Attributes:
        data: the images to learn from.
        seen_classes: the classes that bring their masks; see `class_splits.resolve`.
        seen_ids: their ids.
        losses: what is minimised.
        steps: how many steps are taken.
    """

    def __init__(
        self,
        model: Callable[[], MaskRCNN] = gin.REQUIRED,
        data: TrainingData = gin.REQUIRED,
        seen_classes: str | Sequence[int | str] | None = gin.REQUIRED,
        losses: Losses = gin.REQUIRED,
        optimizer: Callable[[], tf_keras.optimizers.Optimizer] = gin.REQUIRED,
        steps: int = gin.REQUIRED,
        init_checkpoint: str | None = None,
        init_parts: Sequence[checkpoints.Part] = ("backbone",),
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        """Notes what to compute.

        Args:
            model: makes the model, given as `@MaskRCNN`, to be called where its devices are.
            data: the images to learn from.
            seen_classes: the classes that bring their masks, as a name ("voc"), ids or names; None
                is all of them, [] is none.
            losses: what is minimised.
            optimizer: makes the optimizer, given as `@SGD`.
            steps: how many steps are taken.
            init_checkpoint: where the first weights come from; None: random.
            init_parts: which of them are read: "all", or some of "backbone" and "decoder".
            precision: "bfloat16" computes in mixed precision; variables stay float32.
        """
        self.data = data
        self.seen_classes = seen_classes
        self.seen_ids = class_splits.resolve(seen_classes, data.info.categories)
        self.losses = losses
        self.steps = steps
        self._make_model = model
        self._make_optimizer = optimizer
        self._init_checkpoint = init_checkpoint
        self._init_parts = tuple(init_parts)
        self._precision = precision

    def build(self, seed: int) -> tuple[MaskRCNN, tf_keras.optimizers.Optimizer]:
        """Makes model and optimizer with all their variables, within a strategy's scope.

        Args:
            seed: what random first weights are a function of.

        Raises:
            UserError: if the model has too few classes for the data.
        """
        tf_keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if self._precision == "bfloat16" else "float32")
        tf_keras.utils.set_random_seed(seed)
        model = self._make_model()
        largest = max(category.id for category in self.data.info.categories)
        if model.num_classes <= largest:
            raise UserError(
                f"MaskRCNN.num_classes = {model.num_classes} is too small for the data set "
                f"{self.data.info.name}, whose largest class id is {largest}: use {largest + 1}.")
        model.create_variables()
        optimizer = self._make_optimizer()
        optimizer.build(model.trainable_variables)
        return model, optimizer

    def initialise(self, model: MaskRCNN) -> None:
        """Reads the first weights, if they come from a checkpoint."""
        if self._init_checkpoint is not None:
            checkpoints.initialise(model, self._init_checkpoint, self._init_parts)


class Session(NamedTuple):
    """All of a trial's objects, built and connected; nothing has been computed yet."""

    trial_id: str
    training: Training
    evaluation: Evaluation
    runtime: Runtime
    strategy: tf.distribute.Strategy
    model: MaskRCNN
    optimizer: tf_keras.optimizers.Optimizer
    checkpoint: tf.train.Checkpoint


def prepare(trial: Trial) -> Session:
    """Parses a trial's configuration and constructs everything that it binds.

    Raises:
        UserError: for the first mistake in the configuration, a binding without effect included.
    """
    parsed = bindings.parse(trial.gin_files, trial.bindings)
    with bindings.constructing():
        runtime: Runtime = gin.get_configurable("Runtime")()
        if runtime.deterministic:
            tf.config.experimental.enable_op_determinism()
        strategy = runtime.strategy()
        training: Training = gin.get_configurable("Training")()
        evaluation: Evaluation = gin.get_configurable("Evaluation")()
        with strategy.scope():
            model, optimizer = training.build(trial.seed)
    bindings.check_took_effect(parsed)
    info = training.data.info
    identity = trial_id(
        bindings.explicit_bindings(parsed), trial.seed, f"{info.name}@{info.fingerprint}")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, **checkpoints.items(model))
    return Session(
        identity, training, evaluation, runtime, strategy, model, optimizer, checkpoint)


def run(trial: Trial, workdir: TrialWorkdir, mode: Mode = "train_and_eval") -> dict | None:
    """Runs a trial, or what is left of it.

    Args:
        trial: what to run.
        workdir: where its files are, and whatever an earlier attempt finished.
        mode: "train" ends with the last checkpoint; "eval" evaluates it; "train_and_eval" does
            both; "continuous_eval" evaluates each checkpoint that another process writes.

    Returns:
        The content of result.json; None in mode "train".

    Raises:
        UserError: for a mistake in the configuration, before anything is computed.
        Interrupted: if the process was asked to end. Running the trial again continues it.
        Diverged: if the loss stopped being a number.
    """
    session = prepare(trial)
    chief = is_chief(session.strategy)
    if chief:
        workdir.start(trial, session.trial_id, bindings.config_text())
    if mode != "eval" and (result := workdir.read_result()) is not None:
        return result
    if mode in ("train", "train_and_eval"):
        train(session, trial.seed, workdir, chief)
    if mode == "train":
        return None
    if mode == "continuous_eval":
        return evaluate_continuously(session, workdir)
    step = restore(session, workdir)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {workdir.checkpoints}.")
    numbers = evaluate(session)
    return write_result(workdir, numbers, step) if chief else None


def train(session: Session, seed: int, workdir: TrialWorkdir, chief: bool) -> None:
    """Takes the steps that are left, noting metrics and checkpoints on the way."""
    training, runtime, strategy = session.training, session.runtime, session.strategy
    # Every worker of a cluster takes part in saving, but only the chief's files are kept.
    manager = tf.train.CheckpointManager(
        session.checkpoint, str(workdir.checkpoints) if chief else tempfile.mkdtemp(),
        max_to_keep=runtime.keep_checkpoints)
    step = restore(session, workdir)
    if step is None:
        training.initialise(session.model)
        step = 0
    first_step = step
    workdir.drop_metrics_after(first_step)

    def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training.data.dataset(
            session.model.image_size, session.model.anchors, training.seen_ids, seed, first_step,
            context)

    trainer = Trainer(
        session.model, training.losses, session.optimizer,
        strategy.distribute_datasets_from_function(dataset), strategy, seed, runtime.jit_compile)
    with StopRequest.listening() as stop, Progress("Training", training.steps, step) as progress:
        while step < training.steps and not stop.requested:
            started, previous = time.monotonic(), step
            wanted = min(_next_multiple(step, runtime.log_every), training.steps)
            while step < wanted and not stop.requested:
                chunk = min(wanted - step, _chunk(step - previous, time.monotonic() - started))
                trainer.train(tf.constant(chunk))
                step += chunk
            report = trainer.report()
            report["steps_per_second"] = (step - previous) / (time.monotonic() - started)
            if not math.isfinite(report["total_loss"]):
                raise Diverged(
                    f"The loss is {report['total_loss']} between steps {previous} and {step}; "
                    "a lower learning rate or a longer warm-up may help.")
            if chief:
                workdir.append_metrics(step, {f"train/{k}": v for k, v in report.items()})
                workdir.write_operative_config(bindings.operative_text())
            progress.update(step, loss=report["total_loss"])
            due = step // runtime.checkpoint_every > previous // runtime.checkpoint_every
            if due or stop.requested or step == training.steps:
                manager.save(checkpoint_number=step)
            every = session.evaluation.every
            if every and step // every > previous // every and step < training.steps:
                numbers = evaluate(session)
                if chief:
                    workdir.append_evaluation(step, numbers.scalars)
        if step < training.steps:
            raise Interrupted(
                f"Stopped at step {step} of {training.steps}; run the trial again to go on.")


def evaluate(session: Session) -> Numbers:
    """Evaluates the session's model as it is now."""
    return session.evaluation.run(
        session.model, session.strategy, session.training.seen_classes)


def evaluate_continuously(session: Session, workdir: TrialWorkdir) -> dict | None:
    """Evaluates each new checkpoint until that of the last step, whose numbers are the result.

    Raises:
        UserError: if no new checkpoint has appeared for hours.
    """
    done, last_news = -1, time.monotonic()
    while True:
        step = restore(session, workdir)
        if step is not None and step > done:
            numbers = evaluate(session)
            if step >= session.training.steps:
                return write_result(workdir, numbers, step)
            workdir.append_evaluation(step, numbers.scalars)
            done, last_news = step, time.monotonic()
        elif time.monotonic() - last_news > _SECONDS_WITHOUT_CHECKPOINT:
            raise UserError(f"No new checkpoint has appeared in {workdir.checkpoints} for hours.")
        else:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def restore(session: Session, workdir: TrialWorkdir) -> int | None:
    """Reads the latest checkpoint, if there is one, and returns its step."""
    # The trainer may delete a checkpoint while an evaluator opens it; then there is a newer one.
    for _ in range(3):
        latest = tf.train.latest_checkpoint(str(workdir.checkpoints))
        if latest is None:
            return None
        with contextlib.suppress(tf.errors.NotFoundError):
            session.checkpoint.restore(latest).assert_existing_objects_matched()
            return int(session.optimizer.iterations.numpy())
    raise UserError(f"The checkpoints in {workdir.checkpoints} vanish while they are read.")


def write_result(workdir: TrialWorkdir, numbers: Numbers, step: int) -> dict:
    """Writes the final numbers; result.json comes last, and says that the trial is finished."""
    workdir.write_per_class(numbers.per_class.to_csv(index=False))
    result = {"step": step, **numbers.scalars}
    workdir.write_result(result)
    return result


def _chunk(steps: int, seconds: float) -> int:
    """Returns how many steps to take at once, so that a request to stop is heeded in seconds."""
    return max(1, int(_SECONDS_TO_HEED * steps / seconds)) if steps else 1


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every
