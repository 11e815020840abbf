"""Judges configurations one after the other: everything is constructed, nothing is opened or run.

Each is given to gin, checked and constructed on its own. Only the model, which takes seconds, is
built once for all that have the same.
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
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.sweep.validation import architecture
from deepmac_ablate.sweep.validation.architecture import Shape, Trunk
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.model_keys import ModelKeys
from deepmac_ablate.sweep.validation.verdict import DataNeeds, Verdict
from deepmac_ablate.training.session import Settings, Training

_Made = TypeVar("_Made")


class _Model(NamedTuple):
    """What is remembered of a model: numbers, but no layers."""

    num_classes: int
    backbone_gmacs: float
    box_gmacs: float
    mask_gmacs: float
    mask_boxes: int
    parameters: int
    num_bytes: int
    # By part; the mask branch has no name, as it cannot be frozen.
    trainable: dict[str, tuple[Shape, ...]]


class _Problems(Exception):  # noqa: N818 (for several)
    """What is wrong with a configuration, one sentence each."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class Judge:
    """Judges configurations; a model that several of them have is built once."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, int], tuple[_Model | _Problems, bindings.Calls]] = {}
        self._slots: dict[tuple[str, tuple[Shape, ...]], int] = {}
        # Of the last trunk only, as its weights fill hundreds of megabytes.
        self._trunk_key = ""
        self._trunk: Trunk | None = None

    def judge(self, label: str, text: bindings.Text, keys: ModelKeys) -> Verdict:
        """Judge one configuration.

        Args:
            label: what it is called.
            text: what `bindings.read` returned.
            keys: of its model.

        Returns:
            The verdict, without anything about datasets.
        """
        problems = [str(problem) for problem in bindings.configure_gin(text)]
        if not problems:
            try:
                cost, needs = self._construct(text, keys)
                return Verdict(label, cost=cost, data=needs)
            except _Problems as found:
                problems += found.sentences
        return Verdict(label, tuple(dict.fromkeys(problems)))

    def _construct(self, text: bindings.Text, keys: ModelKeys) -> tuple[Cost, DataNeeds]:
        problems: list[str] = []

        def collect(make: Callable[[], _Made]) -> _Made | None:
            try:
                return _attempt(make)
            except _Problems as found:
                problems.extend(found.sentences)
                return None

        training, evaluation, runtime = (
            collect(gin.get_configurable(name)) for name in ("Training", "Evaluation", "Runtime"))
        if training:
            collect(training.make_optimizer)
        model = training and collect(lambda: self._model(keys, training))
        if not problems:
            problems += map(str, bindings.unused_binding_problems(text.bindings))
        if problems:
            raise _Problems(*problems)
        return self._results(Settings(training, evaluation, runtime), model)

    def _results(self, settings: Settings, model: _Model) -> tuple[Cost, DataNeeds]:
        training, runtime = settings.training, settings.runtime
        moved = [part for name, part in model.trainable.items() if name not in training.freeze]
        slots = _attempt(lambda: self._slot_bytes(training.make_optimizer, moved))
        written = math.ceil(training.steps / runtime.checkpoint_every)
        cost = Cost(
            parameters=model.parameters,
            trainable_parameters=sum(math.prod(shape) for part in moved for shape in part),
            backbone_gmacs=model.backbone_gmacs,
            box_gmacs=model.box_gmacs,
            mask_gmacs=model.mask_gmacs,
            mask_boxes=model.mask_boxes,
            checkpoint_bytes=model.num_bytes + slots,
            checkpoints=min(written, runtime.keep_checkpoints),
            steps=training.steps,
            batch_size=training.data.batch_size)
        needs = DataNeeds(
            training.data.prefix, settings.evaluation.data.prefix, training.seen_classes,
            model.num_classes, training.data.declared)
        return cost, needs

    def _slot_bytes(
        self,
        make: Callable[[], tf_keras.optimizers.Optimizer],
        moved: Sequence[tuple[Shape, ...]],
    ) -> int:
        """Return the bytes of an optimizer's variables; it moves some parts of a model."""
        # All that they may depend on: not the learning rate.
        optimizer = make()
        settings = optimizer.get_config() | {"learning_rate": None}
        kind = f"{type(optimizer)} {json.dumps(settings, default=repr)}"

        def count(shapes: tuple[Shape, ...]) -> int:
            key = kind, shapes
            if key not in self._slots:
                self._slots[key] = architecture.optimizer_bytes(make(), shapes)
            return self._slots[key]

        # Beside what it keeps for each variable, an optimizer counts its steps.
        alone = count(())
        return alone + sum(count(shapes) - alone for shapes in moved)

    def _model(self, keys: ModelKeys, training: Training) -> _Model:
        """Return what is known of the model; gin knows the calls that made it in either case."""
        key = keys.model, training.data.max_instances
        if key in self._models:
            model, calls = self._models[key]
            bindings.add_calls(calls)
        else:
            with bindings.recorded_calls() as calls:
                try:
                    model = self._draw(keys.trunk, training)
                except _Problems as problems:
                    model = problems
            self._models[key] = model, calls
        if isinstance(model, _Problems):
            raise model
        return model

    def _draw(self, trunk_key: str, training: Training) -> _Model:
        if trunk_key != self._trunk_key:
            self._trunk_key, self._trunk = trunk_key, None
        with _pyramid_of(self._trunk):
            model = _attempt(training.make_model)
        trunk = self._trunk = self._trunk or _attempt(lambda: architecture.draw_trunk(model))
        branch = _attempt(
            lambda: architecture.draw_mask_branch(model, trunk.features, training.data))
        parts = {**trunk.parts, "": branch.variables}
        every = [variable for part in parts.values() for variable in part]
        return _Model(
            num_classes=model.num_classes,
            backbone_gmacs=trunk.backbone_gmacs,
            box_gmacs=trunk.box_gmacs,
            mask_gmacs=branch.gmacs,
            mask_boxes=branch.boxes,
            parameters=architecture.size(every),
            num_bytes=architecture.num_bytes(every),
            trainable={
                name: tuple(tuple(v.shape) for v in part if v.trainable)
                for name, part in parts.items()
            })


@contextlib.contextmanager
def _pyramid_of(trunk: Trunk | None) -> Iterator[None]:
    """Give models that are made in the block the backbone and decoder of a trunk, if there is one.

    Building a ResNet-50 takes longer than a mask head and all else about an arm.
    """
    if trunk is None:
        yield
        return
    with mock.patch.object(MaskRCNN, "build_pyramid", return_value=trunk.pyramid):
        yield


def _attempt(make: Callable[[], _Made]) -> _Made:
    """Call what gin or a user's class makes.

    Raises:
        _Problems: if it cannot be made for a reason that lies in the configuration.
    """
    try:
        with bindings.constructing():
            return make()
    except UserError as problem:
        raise _Problems(str(problem)) from problem
    except _Problems:
        raise
    except (MemoryError, OSError, tf.errors.ResourceExhaustedError):
        # Of this machine, now; another one may have no such problem.
        raise
    except Exception as problem:
        # Keras says in which layer, then what, and then page after page with what arguments.
        said = textwrap.shorten(str(problem).partition("Call arguments received")[0], 300)
        raise _Problems(f"It cannot be built: {type(problem).__name__}: {said}") from problem
