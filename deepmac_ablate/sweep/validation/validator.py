"""Validator of configurations: constructs all objects of a trial, but opens and runs nothing.

Each configuration is passed to gin, checked and constructed on its own. Only the model, which takes
seconds, is built once for all configurations that share it.
"""

from __future__ import annotations

import contextlib
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from unittest import mock

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.modeling.detectors import Detector
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.optimization import warm_up_steps
from deepmac_ablate.sweep.validation import architecture, limits
from deepmac_ablate.sweep.validation.architecture import Shape, Trunk
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.model_keys import ModelKeys, model_keys
from deepmac_ablate.sweep.validation.validation_result import (
    ArmConfig,
    DataRequirements,
    ValidationResult,
)
from deepmac_ablate.training.session import Settings, Training

_Made = TypeVar("_Made")


class _Model(NamedTuple):
    """Numbers that are kept of a model, without its layers."""

    num_classes: int
    backbone_gmacs: float
    box_gmacs: float
    mask_gmacs: float
    mask_boxes: int
    parameters: int
    num_bytes: int
    # Shapes of the trainable variables by part; "" is the mask branch, which cannot be frozen.
    trainable: dict[str, tuple[Shape, ...]]
    # Names of all parts.
    parts: tuple[str, ...]
    detector: type[Detector]


class _InvalidConfigError(Exception):
    """A configuration has problems, one sentence each: its arguments."""


def validate_configs(
    configs: Sequence[ArmConfig],
    on_result: Callable[[int, ValidationResult], None] = lambda index, result: None,
) -> list[ValidationResult]:
    """Validate configurations without their datasets.

    Args:
        configs: The configurations.
        on_result: Called with the index and the result of each configuration once it is found, in
            any order.

    Returns:
        A result for each configuration, with all of its problems.
    """
    results: dict[int, ValidationResult] = {}

    def add(index: int, result: ValidationResult) -> None:
        results[index] = result
        on_result(index, result)

    waiting: list[tuple[ModelKeys, int, bindings.Text]] = []
    for index, config in enumerate(configs):
        try:
            text = bindings.read(config.gin_files, config.bindings)
        except UserError as problem:
            add(index, ValidationResult(config.label, (str(problem),)))
        else:
            waiting.append((model_keys(text.bindings), index, text))
    validator = Validator()
    with bindings.isolated():
        # Sorted by trunk, because the validator keeps only the latest one.
        for keys, index, text in sorted(waiting, key=lambda entry: (entry[0].trunk, entry[1])):
            add(index, validator.validate(configs[index].label, text, keys))
    return [results[index] for index in range(len(configs))]


class Validator:
    """Validator that builds a model once for all configurations that share it."""

    def __init__(self) -> None:
        self._models: dict[
            tuple[str, int], tuple[_Model | _InvalidConfigError, bindings.Calls]] = {}
        self._slots: dict[tuple[str, tuple[Shape, ...]], int] = {}
        # Only the latest trunk is kept: its weights take hundreds of megabytes.
        self._trunk_key = ""
        self._trunk: Trunk | None = None

    def validate(self, label: str, text: bindings.Text, keys: ModelKeys) -> ValidationResult:
        """Validate one configuration.

        Args:
            label: The label of the arm.
            text: The configuration, as `bindings.read` returned it.
            keys: The keys of its model.

        Returns:
            The result, without anything about datasets.
        """
        try:
            with limits.limited_time(limits.SECONDS):
                problems = tuple(map(str, bindings.configure_gin(text)))
                if not problems:
                    cost, data = self._construct(text, keys)
                    return ValidationResult(label, cost=cost, data=data)
        except _InvalidConfigError as error:
            problems = error.args
        except (MemoryError, tf.errors.ResourceExhaustedError):
            return ValidationResult(label, (
                "It cannot be built: it needs more memory than this machine has.",),
                of_this_machine=True)
        except limits.OutOfTimeError:
            return ValidationResult(label, (
                f"It cannot be built: it is not ready after {limits.SECONDS} seconds.",),
                of_this_machine=True)
        return ValidationResult(label, tuple(dict.fromkeys(problems)))

    def _construct(self, text: bindings.Text, keys: ModelKeys) -> tuple[Cost, DataRequirements]:
        problems: list[str] = []

        def collect(make: Callable[[], _Made]) -> _Made | None:
            try:
                return _attempt(make)
            except _InvalidConfigError as error:
                problems.extend(error.args)
                return None

        training, evaluation, runtime = (
            collect(gin.get_configurable(name)) for name in ("Training", "Evaluation", "Runtime"))
        optimizer = training and collect(training.make_optimizer)
        if optimizer and not _is_shortened(text.bindings) and (
                warm_up := warm_up_steps(optimizer)) > training.steps:
            problems.append(
                f"warm_up.steps = {warm_up} must be at most Training.steps = {training.steps}.")
        model = training and collect(lambda: self._model(keys, training))
        if model is not None:
            collect(lambda: training.check_parts(model.parts))
            if evaluation is not None:
                collect(lambda: evaluation.check_detector(model.detector))
        if not problems:
            problems += map(str, bindings.unused_binding_problems(text.bindings))
        if problems:
            raise _InvalidConfigError(*problems)
        return self._results(Settings(training, evaluation, runtime), model)

    def _results(self, settings: Settings, model: _Model) -> tuple[Cost, DataRequirements]:
        training, runtime = settings.training, settings.runtime
        trained = [part for name, part in model.trainable.items() if name not in training.freeze]
        slots = _attempt(lambda: self._slot_bytes(training.make_optimizer, trained))
        written = math.ceil(training.steps / runtime.checkpoint_every)
        cost = Cost(
            parameters=model.parameters,
            trainable_parameters=sum(math.prod(shape) for part in trained for shape in part),
            backbone_gmacs=model.backbone_gmacs,
            box_gmacs=model.box_gmacs,
            mask_gmacs=model.mask_gmacs,
            mask_boxes=model.mask_boxes,
            checkpoint_bytes=model.num_bytes + slots,
            checkpoints=min(written, runtime.keep_checkpoints),
            steps=training.steps,
            batch_size=training.data.batch_size)
        data = DataRequirements(
            training.data.prefix, settings.evaluation.data.prefix, training.seen_classes,
            model.num_classes, training.data.declared, training.init_checkpoint,
            training.init_parts, training.data.max_instances,
            training.losses.box_only_context is None)
        return cost, data

    def _slot_bytes(
        self,
        make: Callable[[], tf_keras.optimizers.Optimizer],
        trained: Sequence[tuple[Shape, ...]],
    ) -> int:
        """Return the bytes of the variables of an optimizer that trains some parts of a model."""
        # The variables may depend on all settings but the learning rate.
        optimizer = make()
        settings = optimizer.get_config() | {"learning_rate": None}
        kind = f"{type(optimizer)} {json.dumps(settings, default=repr)}"

        def count(shapes: tuple[Shape, ...]) -> int:
            key = kind, shapes
            if key not in self._slots:
                self._slots[key] = architecture.optimizer_bytes(make(), shapes)
            return self._slots[key]

        # Beside its variables for each weight, an optimizer has a step counter.
        alone = count(())
        return alone + sum(count(shapes) - alone for shapes in trained)

    def _model(self, keys: ModelKeys, training: Training) -> _Model:
        """Return the numbers of the model; gin records the calls that build it in either case."""
        key = keys.model, training.data.max_instances
        if key in self._models:
            model, calls = self._models[key]
            bindings.add_calls(calls)
        else:
            with bindings.recorded_calls() as calls:
                try:
                    model = self._build(keys.trunk, training)
                except _InvalidConfigError as error:
                    model = error
            self._models[key] = model, calls
        if isinstance(model, _InvalidConfigError):
            raise model
        return model

    def _build(self, trunk_key: str, training: Training) -> _Model:
        if trunk_key != self._trunk_key:
            self._trunk_key, self._trunk = trunk_key, None
        with limits.limited_parameters(limits.PARAMETERS):
            with _reusing_pyramid(self._trunk):
                model = _attempt(training.make_model)
            trunk = self._trunk = self._trunk or _attempt(lambda: architecture.trace_trunk(model))
            branch = _attempt(
                lambda: architecture.trace_mask_branch(model, trunk.features, training.data))
        parts = {**trunk.parts, "": branch.variables}
        every = [variable for part in parts.values() for variable in part]
        return _Model(
            num_classes=model.num_classes,
            backbone_gmacs=trunk.backbone_gmacs,
            box_gmacs=trunk.box_gmacs,
            mask_gmacs=branch.gmacs,
            mask_boxes=branch.boxes,
            parameters=architecture.num_values(every),
            num_bytes=architecture.num_bytes(every),
            trainable={
                name: tuple(tuple(v.shape) for v in part if v.trainable)
                for name, part in parts.items()
            },
            parts=tuple(checkpoints.named_parts(model)),
            detector=type(model.detector))


def _is_shortened(bound: Sequence[bindings.Binding]) -> bool:
    """Return whether a recipe is tried with few steps, as by --steps: its warm-up need not fit."""
    merged = bindings.merge(bound)
    changed = {
        binding.short_selector for binding in merged.values() if binding.parameter == "steps"
        and not bindings.binding_sources(binding, merged)[-1].in_file}
    return "Training" in changed and "warm_up" not in changed


@contextlib.contextmanager
def _reusing_pyramid(trunk: Trunk | None) -> Iterator[None]:
    """Let models that are built in the block share the backbone and decoder of a trunk, if any.

    Building a ResNet-50 takes longer than everything else about an arm.
    """
    if trunk is None:
        yield
        return
    with mock.patch.object(MaskRCNN, "build_pyramid", return_value=trunk.pyramid):
        yield


def _attempt(make: Callable[[], _Made]) -> _Made:
    """Return the object that gin or a user's class makes.

    Raises:
        _InvalidConfigError: If the configuration prevents that.
    """
    try:
        with bindings.constructing():
            return make()
    except UserError as problem:
        raise _InvalidConfigError(str(problem)) from problem
    except _InvalidConfigError:
        raise
    except (MemoryError, OSError, tf.errors.ResourceExhaustedError):
        # A problem of this machine, not of the configuration.
        raise
    except Exception as problem:
        # Keras names the layer and the problem, and then prints pages of call arguments.
        text = str(problem).partition("Call arguments received")[0].strip()
        # AutoGraph adds the lines of a traceback in between.
        layer, _, traceback = text.partition("in user code:")
        message = textwrap.shorten(f"{layer} {traceback.strip().rpartition(chr(10))[2]}", 300)
        raise _InvalidConfigError(
            f"It cannot be built: {type(problem).__name__}: {message}") from problem
