"""A trial's objects, from gin files to a model: everything is built, nothing computed yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.evaluation import Evaluation
from deepmac_ablate.modeling import backbones, box_sources, checkpoints, mask_heads, optimization
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.runtime import Runtime
from deepmac_ablate.trial import Trial, trial_id
from deepmac_ablate.workdir import TrialWorkdir

# Modules whose classes gin files select, though nothing here names them.
SELECTABLE = (backbones, box_sources, mask_heads, optimization)


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

        Raises:
            UserError: if there is no step to take, or the classes are not the data set's.
        """
        check_at_least(1, Training__steps=steps)
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
    """All of a trial's objects, built and connected; nothing has been computed yet.

    Attributes:
        trial_id: what the trial is known by.
        inactive: the bindings of files whose modules are not selected, with file and line.
    """

    trial_id: str
    inactive: tuple[str, ...]
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
        if training.data.batch_size % strategy.num_replicas_in_sync:
            raise UserError(
                f"TrainingData.batch_size = {training.data.batch_size} cannot be shared by "
                f"{strategy.num_replicas_in_sync} devices: use a multiple of their number.")
        evaluation: Evaluation = gin.get_configurable("Evaluation")()
        with strategy.scope():
            model, optimizer = training.build(trial.seed)
    bindings.check_took_effect(parsed)
    info = training.data.info
    identity = trial_id(
        bindings.explicit_bindings(parsed), trial.seed, f"{info.name}@{info.fingerprint}")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, **checkpoints.items(model))
    inactive = tuple(binding.place for binding in bindings.inactive_bindings(parsed))
    return Session(
        identity, inactive, training, evaluation, runtime, strategy, model, optimizer, checkpoint)


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
