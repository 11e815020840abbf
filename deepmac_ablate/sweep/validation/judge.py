"""Judges configurations one after the other: everything is constructed, nothing is opened or run.

What two of them have in common is looked at once: the text (`bindings.Series`), the trunk of the
model, the whole model, and whether the bindings took effect, which names and references decide.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeVar

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.backbones import sharing
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.sweep.validation import architecture
from deepmac_ablate.sweep.validation.architecture import Trunk
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.sweep.validation.keys import ModelKeys, behind_training, made_root, model_keys
from deepmac_ablate.sweep.validation.optimizer_bytes import OptimizerBytes, Shape
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
    trainable: dict[str, list[Shape]]


class _Problems(Exception):  # noqa: N818 (for several)
    """What is wrong with a configuration, one sentence each."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class Judge:
    """Judges configurations; fastest where alike ones follow each other."""

    def __init__(self) -> None:
        self._series = bindings.Series()
        self._optimizers = OptimizerBytes()
        self._models: dict[tuple[str, int], _Model | _Problems] = {}
        # Of the last trunk only, as its weights fill hundreds of megabytes.
        self._trunk_key = ""
        self._shelf: list[sharing.Networks] = []
        self._trunk: Trunk | None = None
        # Of the last skeleton.
        self._bones: bindings.Skeleton | None = None
        self._effect: list[bindings.EffectProblem] | None = None
        self._root = ""
        self._behind: dict[str, tuple[str, ...]] = {}
        self._keys: dict[tuple[str, ...], ModelKeys] = {}
        # What was made last, with the values that it was made of.
        self._made: dict[str, tuple[tuple[str, ...], object]] = {}

    def judge(self, label: str, text: bindings.Text, bones: bindings.Skeleton) -> Verdict:
        """Judges one configuration.

        Args:
            label: what it is called.
            text: what `bindings.read` returned.
            bones: its skeleton.

        Returns:
            The verdict, without anything about data sets.
        """
        if problems := self._series.hold(text, bones):
            return Verdict(label, tuple(dict.fromkeys(problems)))
        try:
            if bones != self._bones:
                self._meet(text, bones)
            cost, needs = self._construct(text)
        except _Problems as problems:
            return Verdict(label, tuple(dict.fromkeys(problems.sentences)))
        return Verdict(label, cost=cost, data=needs)

    def _meet(self, text: bindings.Text, bones: bindings.Skeleton) -> None:
        """Notes what a new skeleton is made of."""
        root = made_root(text.bindings, "model")
        if root is None:
            raise _Problems("Training.model must be set; add a binding 'Training.model = ...'.")
        self._bones, self._root, self._effect = bones, root, None
        optimizer = made_root(text.bindings, "optimizer")
        self._behind = {
            "model": bindings.behind(text, root),
            "optimizer": bindings.behind(text, optimizer) if optimizer else (),
            "Training": behind_training(text),
            **{name: bindings.behind(text, name) for name in ("Evaluation", "Runtime")},
        }
        self._keys, self._made = {}, {}

    def _construct(self, text: bindings.Text) -> tuple[Cost, DataNeeds]:
        problems: list[str] = []

        def collect(make: Callable[[], _Made]) -> _Made | None:
            try:
                return make()
            except _Problems as found:
                problems.extend(found.sentences)
                return None

        training, evaluation, runtime = (
            collect(lambda name=name: self._make_anew(name, gin.get_configurable(name)))
            for name in ("Training", "Evaluation", "Runtime"))
        optimizer = training and collect(
            lambda: self._make_anew("optimizer", training.make_optimizer))
        model = training and collect(lambda: self._model(text, training))
        if problems:
            raise _Problems(*problems)
        if self._effect is None:
            self._effect = list(bindings.effect_problems(text.bindings))
        if self._effect:
            raise _Problems(*(problem.sentence(text.bindings) for problem in self._effect))
        return self._results(Settings(training, evaluation, runtime), model, optimizer)

    def _make_anew(self, name: str, make: Callable[[], _Made]) -> _Made:
        """Makes an object, unless the last one was made of the same values."""
        values = self._series.values(self._behind[name])
        known, made = self._made.get(name, (None, None))
        if values != known:
            # What cannot be made is tried again by the next one.
            made = _attempt(make)
            self._made[name] = values, made
        return made

    def _results(
        self, settings: Settings, model: _Model, optimizer: tf_keras.optimizers.Optimizer
    ) -> tuple[Cost, DataNeeds]:
        training, runtime = settings.training, settings.runtime
        moved = _moved(model, training.freeze)
        slots = _attempt(
            lambda: self._optimizers.count(optimizer, training.make_optimizer, moved))
        written = math.ceil(training.steps / runtime.checkpoint_every)
        cost = Cost(
            parameters=model.parameters,
            trainable_parameters=sum(map(math.prod, moved)),
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

    def _model(self, text: bindings.Text, training: Training) -> _Model:
        """Returns what is known of the model, having made it where anything about it is new."""
        values = self._series.values(self._behind["model"])
        if values not in self._keys:
            self._keys[values] = model_keys(text.bindings, self._root)
        keys = self._keys[values]
        key = (keys.model, training.data.max_instances)
        if key in self._models and self._effect is not None:
            known = self._models[key]
        else:
            known = self._make(keys.trunk, key, training)
        if isinstance(known, _Problems):
            raise known
        return known

    def _make(
        self, trunk_key: str, key: tuple[str, int], training: Training
    ) -> _Model | _Problems:
        """Makes a model, so that gin notes what it is made with, and draws it if it is new."""
        if trunk_key != self._trunk_key:
            self._trunk_key, self._shelf, self._trunk = trunk_key, [], None
        try:
            with sharing.shared(self._shelf):
                model = _attempt(training.make_model)
            if key not in self._models:
                self._models[key] = _attempt(lambda: self._draw(model, training))
        except _Problems as problems:
            self._models[key] = problems
        return self._models[key]

    def _draw(self, model: MaskRCNN, training: Training) -> _Model:
        trunk = self._trunk = self._trunk or architecture.draw_trunk(model)
        branch = architecture.draw_mask_branch(model, trunk.features, training.data)
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
                name: [tuple(v.shape) for v in part if v.trainable]
                for name, part in parts.items()
            })


def _moved(model: _Model, frozen: Collection[str]) -> list[Shape]:
    """Returns the shapes of the variables that the optimizer moves."""
    return [
        shape for name, part in model.trainable.items() if name not in frozen for shape in part]


def _attempt(make: Callable[[], _Made]) -> _Made:
    """Calls what gin or a user's class makes.

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
