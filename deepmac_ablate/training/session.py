"""The objects of a trial, built from its gin files; nothing is computed yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.bindings.ranges import Steps
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.evaluation.model_classes import ModelClasses, dataset_classes
from deepmac_ablate.modeling import (
    backbones,
    box_sources,
    checkpoints,
    mask_heads,
    mask_inputs,
    optimization,
    weak_losses,
)
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.training import data_checks
from deepmac_ablate.training.runtime import Runtime
from deepmac_ablate.training.runtime_bindings import check_runtime_bindings, drop_overridden
from deepmac_ablate.training.trainer import Trainer
from deepmac_ablate.trial.trial import Trial, trial_id

# Modules whose classes gin files select; importing them makes the classes known to gin.
SELECTABLE = (backbones, box_sources, mask_heads, mask_inputs, optimization, weak_losses)


@gin.register(module="deepmac_ablate.session")
class Training:
    """The settings that, together with the seed, determine the results of a trial.

    Attributes:
        data: The training data.
        seen_classes: The classes whose masks are used; see `class_splits.resolve`.
        losses: The losses to minimise.
        steps: The number of training steps.
        init_checkpoint: The checkpoint to initialise from, or None.
        init_parts: The parts to read from it.
        freeze: The parts of the model that are not trained, named as in `checkpoints.named_parts`.
        make_model: Makes the model without its variables.
        make_optimizer: Makes the optimizer without its variables.
    """

    def __init__(
        self,
        model: Callable[[], MaskRCNN] = gin.REQUIRED,
        data: TrainingData = gin.REQUIRED,
        seen_classes: str | Sequence[int | str] | None = gin.REQUIRED,
        losses: Losses = gin.REQUIRED,
        optimizer: Callable[[], tf_keras.optimizers.Optimizer] = gin.REQUIRED,
        steps: Steps = gin.REQUIRED,
        init_checkpoint: str | None = None,
        init_parts: Sequence[str] = ("backbone",),
        freeze: Sequence[str] = (),
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        """Record the settings.

        Args:
            model: Makes the model, bound as `@MaskRCNN`; called within the strategy's scope.
            data: The training data.
            seen_classes: The classes whose masks are used, as a name ("voc"), ids or names; None
                means all of them, [] none.
            losses: The losses to minimise.
            optimizer: Makes the optimizer, bound as `@SGD`.
            steps: The number of training steps.
            init_checkpoint: The checkpoint to initialise from; None for random weights.
            init_parts: The parts to read from it: "all", or some of "backbone", "decoder",
                "mask_head" and those of the detector; of Mask R-CNN, "rpn_head" and
                "detection_head".
            freeze: The parts that are not trained, including the statistics of their
                normalisation: some of the same.
            precision: "bfloat16" computes in mixed precision; variables stay float32.
        """
        self.data = data
        self.seen_classes = seen_classes
        self.losses = losses
        self.steps = steps
        self.make_model = model
        self.make_optimizer = optimizer
        self.init_checkpoint = init_checkpoint
        self.init_parts = tuple(init_parts)
        self.freeze = tuple(freeze)
        self._precision = precision

    @functools.cached_property
    def seen_ids(self) -> frozenset[int]:
        """The ids of the seen classes in the dataset.

        Raises:
            UserError: If there is no dataset, or it lacks one of the classes.
        """
        return class_splits.resolve(self.seen_classes, self.data.info.categories)

    @functools.cached_property
    def classes(self) -> ModelClasses:
        """The classes of the dataset with their roles.

        Raises:
            UserError: As for `seen_ids`.
        """
        return dataset_classes(self.data.info.categories, self.seen_classes)

    def build_model(self, seed: int) -> MaskRCNN:
        """Build the model with all its variables, within a strategy's scope.

        Args:
            seed: The seed of random initial weights.

        Raises:
            UserError: See `check_parts`.
        """
        tf_keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if self._precision == "bfloat16" else "float32")
        tf_keras.utils.set_random_seed(seed)
        model = self.make_model()
        model.box_only_context = self.losses.box_only_context
        self.check_parts(checkpoints.named_parts(model))
        model.create_variables()
        for part in self.freeze:
            checkpoints.named_parts(model)[part].trainable = False
        return model

    def build_optimizer(self, model: MaskRCNN) -> tf_keras.optimizers.Optimizer:
        """Build the optimizer of a model with all its variables, within a strategy's scope."""
        optimizer = self.make_optimizer()
        optimizer.build(model.trainable_variables)
        return optimizer

    def check_data(self, replicas: int) -> None:
        """Check the dataset before anything is built.

        Raises:
            UserError: If there is no dataset, it lacks classes of the class split or, without weak
                losses, all of their masks, or a batch cannot be divided among `replicas` devices.
        """
        if self.losses.box_only_context is None:
            self.data.info.check_masks(self.seen_ids, self.seen_classes)
        if self.data.batch_size % replicas:
            raise UserError(
                f"TrainingData.batch_size = {self.data.batch_size} cannot be shared by "
                f"{replicas} devices: use a multiple of {replicas}.")

    def check_parts(self, known: Collection[str]) -> None:
        """Raise a UserError if a part that is to be frozen or initialised is not a known one."""
        checkpoints.check_parts(known, "Training.freeze", self.freeze)
        if self.init_checkpoint is not None:
            checkpoints.check_parts(
                known, "Training.init_parts", [part for part in self.init_parts if part != "all"])

    def load_initial_weights(self, model: MaskRCNN) -> None:
        """Initialise the model from `init_checkpoint`, if one is bound.

        Raises:
            UserError: If there is no such checkpoint, it does not fit the model, or the trial that
                it belongs to does not agree with this one on the classes.
        """
        if self.init_checkpoint is None:
            return
        data_checks.check_initial_classes(
            self.init_checkpoint, self.init_parts, self.classes, self.data.prefix)
        checkpoints.load_initial_weights(model, self.init_checkpoint, self.init_parts)


class Settings(NamedTuple):
    """The configured objects at the roots of a trial; nothing is opened, connected or built."""

    training: Training
    evaluation: Evaluation
    runtime: Runtime


class PreparedModel(NamedTuple):
    """The model of a trial without what only training needs; no records have to exist.

    Attributes:
        parsed: All bindings that were read.
        training: The trial's settings; its dataset is opened on first use.
        evaluation: The evaluation's settings; its dataset is opened on first use.
        runtime: The settings of the devices.
        strategy: The strategy in whose scope the model was built.
        model: The model with all its variables.
        checkpoint: Reads the model's variables from a checkpoint.
    """

    parsed: tuple[bindings.Binding, ...]
    training: Training
    evaluation: Evaluation
    runtime: Runtime
    strategy: tf.distribute.Strategy
    model: MaskRCNN
    checkpoint: tf.train.Checkpoint


class Session(NamedTuple):
    """All objects of a trial, built and connected.

    Attributes:
        trial_id: The trial's id.
        config: The trial's configuration as gin text, without bindings passed at the start.
        inactive: File and line of the bindings whose modules are not selected.
        training: The trial's settings.
        evaluation: The evaluation's settings.
        runtime: The settings of the devices.
        strategy: The strategy in whose scope the model and the optimizer were built.
        model: The model with all its variables.
        optimizer: The optimizer with all its variables.
        trainer: Takes training steps.
        checkpoint: Saves and restores the variables of the model and the optimizer.
    """

    trial_id: str
    config: str
    inactive: tuple[str, ...]
    training: Training
    evaluation: Evaluation
    runtime: Runtime
    strategy: tf.distribute.Strategy
    model: MaskRCNN
    optimizer: tf_keras.optimizers.Optimizer
    trainer: Trainer
    checkpoint: tf.train.Checkpoint


def prepare_session(trial: Trial, runtime: Sequence[str] = ()) -> Session:
    """Parse a trial's configuration and build everything that it binds.

    Args:
        trial: The trial.
        runtime: Bindings of `Runtime` that override the trial's, see `runtime_bindings`.

    Raises:
        UserError: For the first mistake in the configuration, including bindings without effect.
    """
    config = _parse_config_text(trial) if runtime else None
    parsed, (training, evaluation, settings), strategy = _construct(trial, runtime)
    training.check_data(strategy.num_replicas_in_sync)
    evaluation.check_data()
    data_checks.check_datasets(training.data, evaluation.data, parsed)
    with bindings.constructing(), strategy.scope():
        model = training.build_model(trial.seed)
        training.data.info.check_num_classes(model.num_classes)
        evaluation.check_detector(model.detector)
        optimizer = training.build_optimizer(model)
    bindings.check_all_bindings_used(parsed)
    config = config or bindings.config_text()
    identity = trial_id(bindings.explicit_bindings(parsed), trial.seed)
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=optimizer, **checkpoints.named_parts(model))
    inactive = tuple(binding.place for binding in bindings.find_unused_bindings(parsed))
    return Session(
        identity, config, inactive, training, evaluation, settings, strategy, model, optimizer,
        Trainer(model, training.losses, optimizer, strategy, settings.jit_compile), checkpoint)


def prepare_model(trial: Trial) -> PreparedModel:
    """Parse a trial's configuration and build everything but what only training needs.

    Raises:
        UserError: For the first mistake in the configuration. Bindings without effect are allowed,
            as those of the optimizer have none here.
    """
    parsed, (training, evaluation, runtime), strategy = _construct(trial)
    with bindings.constructing(), strategy.scope():
        model = training.build_model(trial.seed)
    # The names of the parts lead to the same variables as `model` does.
    checkpoint = tf.train.Checkpoint(model=model)
    return PreparedModel(parsed, training, evaluation, runtime, strategy, model, checkpoint)


def _parse_config_text(trial: Trial) -> str:
    bindings.parse(trial.gin_files, trial.bindings)
    return bindings.config_text()


def _construct(
    trial: Trial, runtime: Sequence[str] = ()
) -> tuple[tuple[bindings.Binding, ...], Settings, tf.distribute.Strategy]:
    """Parse a trial's configuration, construct its settings and connect to the devices."""
    number = check_runtime_bindings(runtime)
    parsed = bindings.parse(trial.gin_files, (*trial.bindings, *runtime))
    parsed = drop_overridden(parsed, number)
    with bindings.constructing():
        roots = ("Training", "Evaluation", "Runtime")
        settings = Settings(*(gin.get_configurable(root)() for root in roots))
    if settings.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    return parsed, settings, settings.runtime.create_strategy()
