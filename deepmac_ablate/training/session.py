"""A trial's objects, from gin files to a model: everything is built, nothing computed yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.modeling import (
    backbones,
    box_sources,
    checkpoints,
    mask_heads,
    mask_inputs,
    optimization,
)
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.training import runtime_bindings
from deepmac_ablate.training.runtime import Runtime
from deepmac_ablate.trial.trial import Trial, trial_id

# Modules whose classes gin files select, though nothing here names them.
SELECTABLE = (backbones, box_sources, mask_heads, mask_inputs, optimization)


@gin.register(module="deepmac_ablate.session")
class Training:
    """What a trial computes; with the seed, all that its results are a function of.

    Attributes:
        data: the images to learn from.
        seen_classes: the classes that bring their masks; see `class_splits.resolve`.
        losses: what is minimised.
        steps: how many steps are taken.
        freeze: parts of the model that stay as they are, as `checkpoints.named_parts` names them.
        make_model: makes the model without its variables.
        make_optimizer: makes the optimizer without its variables.
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
        freeze: Sequence[Literal["backbone", "decoder"]] = (),
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        """Record what to compute.

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
            freeze: parts that stay as they are, the statistics of their normalisation included:
                some of "backbone" and "decoder".
            precision: "bfloat16" computes in mixed precision; variables stay float32.

        Raises:
            UserError: if there is no step to take.
        """
        check_at_least(1, Training__steps=steps)
        self.data = data
        self.seen_classes = seen_classes
        self.losses = losses
        self.steps = steps
        self.make_model = model
        self.make_optimizer = optimizer
        self._init_checkpoint = init_checkpoint
        self._init_parts = tuple(init_parts)
        self.freeze = tuple(freeze)
        self._precision = precision

    @functools.cached_property
    def seen_ids(self) -> frozenset[int]:
        """The ids of the seen classes among those of the data.

        Raises:
            UserError: if there is no data, or the classes are not the dataset's.
        """
        return class_splits.resolve(self.seen_classes, self.data.info.categories)

    def build_model(self, seed: int) -> MaskRCNN:
        """Make the model with all its variables, within a strategy's scope.

        Args:
            seed: what random first weights are a function of.
        """
        tf_keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if self._precision == "bfloat16" else "float32")
        tf_keras.utils.set_random_seed(seed)
        model = self.make_model()
        model.create_variables()
        for part in self.freeze:
            checkpoints.named_parts(model)[part].trainable = False
        return model

    def build_optimizer(self, model: MaskRCNN) -> tf_keras.optimizers.Optimizer:
        """Make the optimizer of a model with all its variables, within a strategy's scope."""
        optimizer = self.make_optimizer()
        optimizer.build(model.trainable_variables)
        return optimizer

    def check_data(self, replicas: int) -> None:
        """Open the data, so that what it lacks is known before anything is built.

        Raises:
            UserError: if there is no data, its classes are not those of the class split, or a batch
                cannot be shared by `replicas` devices.
        """
        _ = self.seen_ids
        if self.data.batch_size % replicas:
            raise UserError(
                f"TrainingData.batch_size = {self.data.batch_size} cannot be shared by "
                f"{replicas} devices: use a multiple of their number.")

    def check_classes(self, model: MaskRCNN) -> None:
        """Raise a UserError if the model has too few classes for the data."""
        self.data.info.check_num_classes(model.num_classes)

    def initialise(self, model: MaskRCNN) -> None:
        """Read the first weights, if they come from a checkpoint."""
        if self._init_checkpoint is not None:
            checkpoints.load_initial_weights(model, self._init_checkpoint, self._init_parts)


class Settings(NamedTuple):
    """What a trial's bindings say directly: nothing is opened, connected to or built."""

    training: Training
    evaluation: Evaluation
    runtime: Runtime


class PreparedModel(NamedTuple):
    """A trial's model without its training: nothing here needs records to exist.

    Attributes:
        parsed: every binding that was read.
        training: what the trial computes; its data is opened when it is first asked for.
        evaluation: how it is evaluated; the same holds for its data.
        checkpoint: what is read from a checkpoint: the model's variables.
    """

    parsed: tuple[bindings.Binding, ...]
    training: Training
    evaluation: Evaluation
    runtime: Runtime
    strategy: tf.distribute.Strategy
    model: MaskRCNN
    checkpoint: tf.train.Checkpoint


class Session(NamedTuple):
    """All of a trial's objects, built and connected; nothing has been computed yet.

    Attributes:
        trial_id: what the trial is known by.
        config: what the trial asks for, as a gin file, without what the start brought along.
        inactive: the bindings of files whose modules are not selected, with file and line.
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
    checkpoint: tf.train.Checkpoint


def prepare(trial: Trial, runtime: Sequence[str] = ()) -> Session:
    """Parse a trial's configuration and constructs everything that it binds.

    Args:
        trial: what to compute.
        runtime: bindings of `Runtime` that win over the trial's, see `runtime_bindings`.

    Raises:
        UserError: for the first mistake in the configuration, a binding without effect included.
    """
    config = _config(trial) if runtime else None
    parsed, (training, evaluation, settings), strategy = _construct(trial, runtime)
    training.check_data(strategy.num_replicas_in_sync)
    _check_declared(training.data, parsed)
    evaluation.check_data()
    with bindings.constructing(), strategy.scope():
        model = training.build_model(trial.seed)
        training.check_classes(model)
        optimizer = training.build_optimizer(model)
    bindings.check_all_bindings_used(parsed)
    config = config or bindings.config_text()
    identity = trial_id(bindings.explicit_bindings(parsed), trial.seed)
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=optimizer, **checkpoints.named_parts(model))
    inactive = tuple(binding.place for binding in bindings.find_unused_bindings(parsed))
    return Session(
        identity, config, inactive, training, evaluation, settings, strategy, model, optimizer,
        checkpoint)


def prepare_model(trial: Trial) -> PreparedModel:
    """Parse a trial's configuration and constructs everything but what only training needs.

    Raises:
        UserError: for the first mistake in the configuration; bindings without effect are not
            looked for, as those of the optimizer cannot have any.
    """
    parsed, (training, evaluation, runtime), strategy = _construct(trial)
    with bindings.constructing(), strategy.scope():
        model = training.build_model(trial.seed)
    # The names of the parts lead to the same variables as `model` does.
    checkpoint = tf.train.Checkpoint(model=model)
    return PreparedModel(parsed, training, evaluation, runtime, strategy, model, checkpoint)


def _config(trial: Trial) -> str:
    bindings.parse(trial.gin_files, trial.bindings)
    return bindings.config_text()


def _construct(
    trial: Trial, runtime: Sequence[str] = ()
) -> tuple[tuple[bindings.Binding, ...], Settings, tf.distribute.Strategy]:
    number = runtime_bindings.check(runtime)
    parsed = bindings.parse(trial.gin_files, (*trial.bindings, *runtime))
    parsed = runtime_bindings.without_replaced(parsed, number)
    with bindings.constructing():
        roots = ("Training", "Evaluation", "Runtime")
        settings = Settings(*(gin.get_configurable(root)() for root in roots))
    if settings.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    return parsed, settings, settings.runtime.strategy()


def _check_declared(data: TrainingData, parsed: Sequence[bindings.Binding]) -> None:
    """Raise a UserError if the records are not those that the trial's id stands for."""
    found = data.info
    # The name is for people.
    if data.declared is None or data.declared.rpartition("@")[2] == found.fingerprint:
        return
    merged = bindings.merge(parsed)
    binding = next(
        it for name, it in bindings.reachable_bindings(parsed, "Training").items()
        if it.parameter == "dataset" and it.value == data.declared)
    origin = bindings.binding_sources(merged[binding.name], merged)[-1]
    raise UserError(
        f"{data.prefix} is the dataset {found.identity}, but {origin.place} declares another; "
        f"bind {origin.name} = {found.identity!r}, which makes another trial, or None.")
