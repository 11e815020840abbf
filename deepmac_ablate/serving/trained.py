"""Model of a trial with the weights of its latest checkpoint; no dataset is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.model_classes import ModelClasses, trial_classes
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

    def check_detector(self, boxes_given: bool, remedy: str) -> None:
        """Raise a UserError with a remedy if neither the user nor the model has boxes."""
        if not (boxes_given or self.model.detector.finds_objects):
            raise UserError(
                f"The model of trial {self.trial_id} has no detector "
                f"({type(self.model.detector).__name__}), so it can only segment objects in given "
                f"boxes; {remedy}.")


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
    training, model = prepared.training, prepared.model
    classes = trial_classes(files, training.data.prefix, training.seen_classes, model.num_classes)
    return TrainedModel(trial_id, step, classes, model, prepared.strategy)


def _check_extra_bindings(prepared: PreparedModel, number: int) -> None:
    """Raise a UserError unless the model uses each of the last `number` bindings."""
    unused = bindings.find_unused_bindings(prepared.parsed)
    for binding in prepared.parsed[len(prepared.parsed) - number:]:
        if binding in unused:
            raise UserError(f"{binding.place} has no effect: nothing in the trial's model uses it.")
