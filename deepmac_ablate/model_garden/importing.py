"""A published checkpoint becomes a workdir that can be evaluated, exported and trained from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deepmac_ablate import bindings, storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.model_garden import PARTS
from deepmac_ablate.model_garden.matching import Match, match
from deepmac_ablate.model_garden.trees import CheckpointTree, follow
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial import Trial, trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Where a workdir tells what it was imported from.
PROVENANCE = "import.json"


def run(
    checkpoint: str, trial: Trial, workdir: TrialWorkdir, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """Import a checkpoint; no records are needed.

    Args:
        checkpoint: a path without an ending, a folder of checkpoints, whose latest one is taken, or
            a folder that holds a SavedModel.
        trial: the configuration that the checkpoint was trained with, or fits.
        workdir: an empty or new folder; trial.json is written last, so that it is a workdir only
            once all is there.
        parts: the parts of the model that are read; the others keep random weights.

    Returns:
        What was written to import.json: `source`, `step` (None where none is stored), `parts`,
        `tensors` (how many were read), `left_out` (how many were not, by kind) and `fingerprint`
        (of the weights).

    Raises:
        UserError: if the workdir is in use, there is no such checkpoint, or its tensors are not
            exactly those of the model.
    """
    if workdir.read_trial_id() is not None or tf.train.latest_checkpoint(str(workdir.checkpoints)):
        raise UserError(f"The workdir {workdir.path} is in use already; choose another one.")
    stored = CheckpointTree(checkpoint)
    prepared = prepare_model(trial)
    matched = match(stored, prepared.model, parts)
    fingerprint = _assign(stored, matched)
    step = _step(stored)
    provenance = {
        "source": os.fspath(stored.path),
        "step": step,
        "parts": list(parts),
        "tensors": len(matched.assignments),
        "left_out": matched.left_out,
        "fingerprint": fingerprint,
    }
    # Not a trial that was run here: its data is unknown, its weights stand for it.
    bound = bindings.explicit_bindings(prepared.parsed)
    identity = trial_id(
        {**bound, "TrainingData.dataset": repr(f"imported@{fingerprint}")}, trial.seed)
    try:
        workdir.checkpoints.mkdir(parents=True, exist_ok=True)
        tf.train.CheckpointManager(
            tf.train.Checkpoint(model=prepared.model, **checkpoints.named_parts(prepared.model)),
            str(workdir.checkpoints), max_to_keep=1,
        ).save(checkpoint_number=step or 0)
        storage.write(workdir.path / PROVENANCE, to_json(provenance, indent=2) + "\n")
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"Cannot write the workdir {workdir.path}: {error}.") from error
    workdir.start(trial, identity, bindings.config_text())
    return provenance


def _assign(stored: CheckpointTree, matched: Match) -> str:
    """Give every variable its tensor; returns a hash of all of them."""
    digest = hashlib.sha256()
    for variable, tensor in matched.assignments:
        value = stored.value(tensor)
        variable.assign(value)
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:12]


def _step(stored: CheckpointTree) -> int | None:
    """Return how many steps a checkpoint was trained for, if it tells."""
    node = follow(stored, 0, "global_step")
    name = None if node is None else stored.tensor(node)
    return None if name is None else int(stored.value(name))
