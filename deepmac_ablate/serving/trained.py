"""Model of a trial with the weights of its latest checkpoint; no dataset is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import PreparedModel, prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# The devices of training, such as a TPU or several GPUs, may not be available here.
_LOCAL_STRATEGY = "Runtime.strategy = 'one_device'"


class TrainedModel(NamedTuple):
    """Trained model with its trial and classes.

    Attributes:
        trial_id: Id of the trial.
        step: Number of training steps.
        classes: Names and roles of the classes, as far as they are known.
        model: The model.
        strategy: Distribution strategy of the model.
    """

    trial_id: str
    step: int
    classes: ModelClasses
    model: MaskRCNN
    strategy: tf.distribute.Strategy


def load_trained(workdir: str, extra_bindings: Sequence[str] = ()) -> TrainedModel:
    """Build the model of a trial on one device and restore its latest checkpoint.

    Args:
        workdir: Workdir of the trial.
        extra_bindings: Bindings that override those of the trial, such as
            "Detections.max_per_image = 300".

    Raises:
        UserError: If there is no trial or checkpoint, an extra binding is wrong or has no effect,
            or the checkpoint does not fit the model.
    """
    files = TrialWorkdir(workdir)
    trial, trial_id = files.read_trial(), files.read_trial_id()
    if trial is None or trial_id is None:
        raise UserError(f"There is no trial in {workdir}: trial.json is missing.")
    prepared = prepare_model(
        dataclasses.replace(trial, bindings=(*trial.bindings, _LOCAL_STRATEGY, *extra_bindings)))
    _check_extra_bindings(prepared, len(extra_bindings))
    try:
        step = restore_latest(prepared, files)
    except (AssertionError, ValueError) as error:
        # Only the first sentence; lists of variables follow it.
        reason = str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
        raise UserError(
            f"The checkpoint in {files.checkpoints} does not fit the model: {reason}.") from error
    if step is None:
        raise UserError(f"There is no checkpoint in {files.checkpoints}.")
    return TrainedModel(
        trial_id, step, _model_classes(prepared), prepared.model, prepared.strategy)


def _check_extra_bindings(prepared: PreparedModel, number: int) -> None:
    """Raise a UserError unless the model uses each of the last `number` bindings."""
    unused = bindings.find_unused_bindings(prepared.parsed)
    for binding in prepared.parsed[len(prepared.parsed) - number:]:
        if binding in unused:
            raise UserError(f"{binding.place} has no effect: nothing in the trial's model uses it.")


def _model_classes(prepared: PreparedModel) -> ModelClasses:
    training = prepared.training
    try:
        known = training.data.info.categories
    except UserError:
        # The dataset is not available here, and the model does not need it.
        known = None
    return derive_classes(known, training.seen_classes, prepared.model.num_classes)


class ModelClasses(NamedTuple):
    """Classes of a trained model by id; missing ids are unknown.

    Attributes:
        names: Names of the classes.
        roles: "seen" for classes that were trained with masks, otherwise "novel".
    """

    names: dict[int, str]
    roles: dict[int, class_splits.Role]

    def label(self, class_id: int) -> str:
        """Return the name of a class, or its id if the name is unknown."""
        return self.names.get(class_id, str(class_id))

    def with_names(self, names: Mapping[int, str]) -> ModelClasses:
        """Return the classes with the names of another dataset.

        Args:
            names: Names by id; empty leaves the classes as they are. A class keeps its role if its
                name there is the same, or was unknown here.
        """
        if not names:
            return self
        same = {i for i in names if self.names.get(i, names[i]) == names[i]}
        return ModelClasses(dict(names), {i: role for i, role in self.roles.items() if i in same})


def derive_classes(
    known: Iterable[Category] | None, seen: class_splits.Split, num_classes: int
) -> ModelClasses:
    """Derive the names and roles of a model's classes.

    Args:
        known: Classes of the trial's dataset; None if the dataset is not available.
        seen: Classes that were trained with masks.
        num_classes: Number of the model's classes with background; 91 stands for COCO's.
    """
    if known is None and num_classes == max(class_splits.COCO) + 1:
        known = [Category(*entry) for entry in class_splits.COCO.items()]
    if known is not None:
        known = list(known)
        return ModelClasses({c.id: c.name for c in known}, class_splits.roles(seen, known))
    anonymous = [Category(class_id, str(class_id)) for class_id in range(1, num_classes)]
    try:
        return ModelClasses({}, dict(class_splits.roles(seen, anonymous)))
    except UserError:
        # A split by name does not determine the roles of ids.
        return ModelClasses({}, {})
