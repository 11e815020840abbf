"""The model of a trial with its last weights; no records are needed for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate import bindings, class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.training.checkpointing import restore
from deepmac_ablate.training.session import PreparedModel, prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# What a trial was trained on need not be here: a TPU, several GPUs.
_HERE = "Runtime.strategy = 'one_device'"


class Trained(NamedTuple):
    """A trained model and what is known about it.

    Attributes:
        trial_id: of the trial.
        step: how many steps it was trained.
        classes: the names and roles of its classes, as far as they are known.
        strategy: where the model lives.
    """

    trial_id: str
    step: int
    classes: Classes
    model: MaskRCNN
    strategy: tf.distribute.Strategy


def load(workdir: str, further: Sequence[str] = ()) -> Trained:
    """Build the model of a trial on one device and read its last checkpoint.

    Args:
        workdir: of the trial.
        further: bindings that win over the trial's, such as "Detections.max_per_image = 300".

    Raises:
        UserError: if there is no trial or checkpoint, a further binding is wrong or has no effect,
            or the checkpoint does not fit.
    """
    files = TrialWorkdir(workdir)
    trial, trial_id = files.read_trial(), files.read_trial_id()
    if trial is None or trial_id is None:
        raise UserError(f"There is no trial in {workdir}: trial.json is missing.")
    prepared = prepare_model(
        dataclasses.replace(trial, bindings=(*trial.bindings, _HERE, *further)))
    _check_took_effect(prepared, len(further))
    try:
        step = restore(prepared, files)
    except (AssertionError, ValueError) as error:
        # The first sentence; numbers of the variables follow.
        reason = str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
        raise UserError(
            f"The checkpoint in {files.checkpoints} does not fit the model: {reason}.") from error
    if step is None:
        raise UserError(f"There is no checkpoint in {files.checkpoints}.")
    return Trained(
        trial_id, step, _classes(prepared), prepared.model, prepared.strategy)


def _check_took_effect(prepared: PreparedModel, number: int) -> None:
    """Raise unless each of the last `number` bindings went into the model."""
    unused = bindings.find_unused_bindings(prepared.parsed)
    for binding in prepared.parsed[len(prepared.parsed) - number:]:
        if binding in unused:
            raise UserError(f"{binding.place} has no effect: nothing in the trial's model uses it.")


def _classes(prepared: PreparedModel) -> Classes:
    training = prepared.training
    try:
        known = training.data.info.categories
    except UserError:
        # The records are elsewhere; a model does without.
        known = None
    return classes_of(known, training.seen_classes, prepared.model.num_classes)


class Classes(NamedTuple):
    """The classes of a trained model by id; an id that is missing is not known.

    Attributes:
        names: what they are called.
        roles: "seen" if they were trained with masks, otherwise "novel".
    """

    names: dict[int, str]
    roles: dict[int, class_splits.Role]

    def label(self, class_id: int) -> str:
        """Return the name of a class, or its id where there is none."""
        return self.names.get(class_id, str(class_id))

    def renamed(self, names: Mapping[int, str]) -> Classes:
        """Return the classes as somebody else calls them.

        Args:
            names: their names by id, or nothing. A role holds only where both mean the same class.
        """
        if not names:
            return self
        same = {i for i in names if self.names.get(i, names[i]) == names[i]}
        return Classes(dict(names), {i: role for i, role in self.roles.items() if i in same})


def classes_of(
    known: Iterable[Category] | None, seen: class_splits.Split, num_classes: int
) -> Classes:
    """Find names and roles.

    Args:
        known: the classes of the trial's dataset, or None where it is out of reach.
        seen: the classes that were trained with masks.
        num_classes: of the model, background included; 91 is taken for COCO's.
    """
    if known is None and num_classes == max(class_splits.COCO) + 1:
        known = [Category(*item) for item in class_splits.COCO.items()]
    if known is not None:
        known = list(known)
        return Classes({c.id: c.name for c in known}, class_splits.roles(seen, known))
    anonymous = [Category(class_id, str(class_id)) for class_id in range(1, num_classes)]
    try:
        return Classes({}, dict(class_splits.roles(seen, anonymous)))
    except UserError:
        # A split that goes by names says nothing about ids.
        return Classes({}, {})
