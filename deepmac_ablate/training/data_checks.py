"""Checks of the datasets and the checkpoint that meet in a trial, before anything is built."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.bindings.gin_files import ROOT
from deepmac_ablate.data.class_agreement import check_agreement, describe_missing
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.model_classes import ModelClasses, read_classes
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

if TYPE_CHECKING:
    from deepmac_ablate.data.evaluation_data import EvaluationData
    from deepmac_ablate.data.training_data import TrainingData

_NAMED_AT_MOST = 3


def check_datasets(
    data: TrainingData, evaluation: EvaluationData, parsed: Sequence[bindings.Binding]
) -> None:
    """Check that the datasets agree on their classes, and that training has the declared one.

    Classes of the evaluation that training lacks, and objects that `TrainingData.max_instances`
    leaves out, are printed to stderr.

    Args:
        data: The training data.
        evaluation: The data to evaluate on.
        parsed: All bindings of the trial, whose id stands for the declared dataset.

    Raises:
        UserError: If they do not.
    """
    lists = data.prefix, data.info.names, evaluation.prefix, evaluation.info.names
    check_agreement(*lists)
    for note in (describe_missing(*lists), data.info.describe_dropped(data.max_instances)):
        if note:
            print(f"deepmac-ablate: {note}", file=sys.stderr)
    found = data.info
    # Only the fingerprint counts; the name before the @ is for people.
    if data.declared is None or data.declared.rpartition("@")[2] == found.fingerprint:
        return
    merged = bindings.merge(parsed)
    declaration = next(
        binding for binding in bindings.reachable_bindings(parsed, "Training").values()
        if binding.parameter == "dataset" and binding.value == data.declared)
    origin = bindings.binding_sources(merged[declaration.name], merged)[-1]
    raise UserError(
        f"{data.prefix} is the dataset {found.identity}, but {origin.place} declares another; "
        f"bind {origin.name} = {found.identity!r}, which makes another trial, or None.")


def check_initial_classes(
    checkpoint: str, parts: Sequence[str], classes: ModelClasses, data: str
) -> None:
    """Check that a checkpoint to initialise from suits the classes of a trial.

    Only a checkpoint in the folder of a trial tells its classes.

    Args:
        checkpoint: `Training.init_checkpoint`.
        parts: `Training.init_parts`.
        classes: Classes of the trial that begins.
        data: Name of its dataset, for messages.

    Raises:
        UserError: If weights of one class would become those of another, or if the mask head has
            already seen masks of classes that are novel here.
    """
    theirs = _classes_of(checkpoint)
    if theirs is None:
        return
    source = f"Training.init_checkpoint = {checkpoint!r}"
    if {"all", "detection_head", "mask_head"} & set(parts):
        check_agreement("Training.init_checkpoint", theirs.names, data, classes.names)
        for class_id, name in classes.names.items():
            there, here = theirs.label(class_id), classes.label(class_id)
            if class_id in theirs.names and there != here:
                raise UserError(
                    f"{source} has class {name!r} as number {there} of its model, but {data} as "
                    f"number {here}; train both on datasets with the same list of classes.")
    if {"all", "mask_head"} & set(parts):
        seen_there = {theirs.names.get(i) for i, role in theirs.roles.items() if role == "seen"}
        leaked = [
            name for i, name in classes.names.items()
            if name in seen_there and classes.roles.get(i) == "novel"]
        if leaked:
            listed = ", ".join(map(repr, leaked[:_NAMED_AT_MOST]))
            more = len(leaked) - _NAMED_AT_MOST
            raise UserError(
                f"The mask head of {source} was trained with masks of {listed}"
                f"{f' and {more} more' if more > 0 else ''}, which are novel in this trial; use a "
                "checkpoint of the same class split, or leave 'mask_head' out of "
                "Training.init_parts.")


def _classes_of(checkpoint: str) -> ModelClasses | None:
    """Return the classes of the trial in whose folder a checkpoint is, if it is in one."""
    for path in (epath.Path(checkpoint), epath.Path(ROOT) / checkpoint):
        # The checkpoint may be named with its step, or by its folder.
        for folder in (path.parent, path.parent.parent):
            if str(folder) == "gs://":  # above a bucket
                continue
            classes = read_classes(TrialWorkdir(folder))
            if classes is not None:
                return classes
    return None
