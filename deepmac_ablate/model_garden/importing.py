"""Import of a published checkpoint as a workdir to evaluate, export or train from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deepmac_ablate import bindings
from deepmac_ablate.class_splits import COCO, COCO_SPLITS
from deepmac_ablate.data.class_agreement import check_agreement
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.model_classes import UNKNOWN, ModelClasses, dataset_classes
from deepmac_ablate.model_garden import PARTS
from deepmac_ablate.model_garden.matching import CheckpointMatch, match_checkpoint
from deepmac_ablate.model_garden.trees import CheckpointTree, find_part
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.training.session import PreparedModel, prepare_model
from deepmac_ablate.trial.trial import Trial, trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# File of a workdir that records the import.
PROVENANCE = "import.json"


def import_checkpoint(
    checkpoint: str, trial: Trial, workdir: TrialWorkdir, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """Import a checkpoint; no dataset is needed.

    Args:
        checkpoint: Path without suffix, folder of checkpoints, of which the latest is taken, or
            folder of a SavedModel.
        trial: Configuration that the checkpoint was trained with, or that fits it.
        workdir: New or empty folder. trial.json is written last, so it is a workdir only when it
            is complete.
        parts: Parts of the model to read; the others keep random weights.

    Returns:
        The content of import.json: `source`, `step` (None if the checkpoint has none), `parts`,
        `tensors` (number of tensors read), `left_out` (number of other tensors by kind) and
        `fingerprint` (of the weights).

    Raises:
        UserError: If the workdir is in use, the checkpoint does not exist, or its tensors are not
            exactly those of the model.
    """
    if workdir.read_trial_id() is not None or tf.train.latest_checkpoint(str(workdir.checkpoints)):
        raise UserError(f"The workdir {workdir.path} is already in use; pass another one.")
    stored = CheckpointTree(checkpoint)
    prepared = prepare_model(trial)
    classes = _classes(prepared)
    matched = match_checkpoint(stored, prepared.model, parts)
    fingerprint = _assign(stored, matched)
    step = _read_step(stored)
    provenance = {
        "source": os.fspath(stored.path),
        "step": step,
        "parts": list(parts),
        "tensors": len(matched.assignments),
        "left_out": matched.left_out,
        "fingerprint": fingerprint,
    }
    # The dataset of the published training is unknown; the fingerprint of the weights replaces it.
    bound = bindings.explicit_bindings(prepared.parsed)
    identity = trial_id(
        {**bound, "TrainingData.dataset": repr(f"imported@{fingerprint}")}, trial.seed)
    try:
        workdir.checkpoints.mkdir(parents=True, exist_ok=True)
        tf.train.CheckpointManager(
            tf.train.Checkpoint(model=prepared.model, **checkpoints.named_parts(prepared.model)),
            str(workdir.checkpoints), max_to_keep=1,
        ).save(checkpoint_number=step or 0)
        file_io.write(workdir.path / PROVENANCE, to_json(provenance, indent=2) + "\n")
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"Cannot write the workdir {workdir.path}: {error}.") from error
    workdir.start(trial, identity, bindings.config_text(), classes.to_json())
    return provenance


def _classes(prepared: PreparedModel) -> ModelClasses:
    """Return the classes of the model: those of its dataset, or else COCO's if its split is one's.

    Raises:
        UserError: If the datasets that are in reach do not fit the model or each other.
    """
    training, evaluation = prepared.training, prepared.evaluation.data
    split, classes = training.seen_classes, UNKNOWN
    if _in_reach(training.data):
        training.data.info.check_num_classes(prepared.model.num_classes)
        classes = training.classes
    elif isinstance(split, str) and split in COCO_SPLITS:
        classes = dataset_classes((Category(*entry) for entry in COCO.items()), split)
    if _in_reach(evaluation):
        check_agreement(
            "the checkpoint", classes.names, evaluation.prefix, evaluation.info.names)
    return classes


def _in_reach(data: TrainingData | EvaluationData) -> bool:
    try:
        return bool(data.info)
    except UserError:
        return False


def _assign(stored: CheckpointTree, matched: CheckpointMatch) -> str:
    """Assign the tensors to the variables, and return a fingerprint of the weights."""
    digest = hashlib.sha256()
    for variable, tensor in matched.assignments:
        value = stored.read_tensor(tensor)
        variable.assign(value)
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:12]


def _read_step(stored: CheckpointTree) -> int | None:
    """Return the number of training steps, or None if the checkpoint does not store it."""
    node = find_part(stored, 0, "global_step")
    name = None if node is None else stored.tensor_name(node)
    return None if name is None else int(stored.read_tensor(name))
