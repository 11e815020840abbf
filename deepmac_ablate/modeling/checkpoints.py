"""Parts of a model by their names in checkpoints, and initial weights from a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

import tensorflow as tf

from deepmac_ablate.bindings.gin_files import ROOT
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN


def named_parts(model: MaskRCNN) -> dict[str, tf.Module]:
    """Return the parts of a model by the names that Model Garden's checkpoints use."""
    parts = {
        "backbone": model.backbone, "decoder": model.decoder, **model.detector.parts,
        "mask_head": model.mask_head}
    return parts | {each.name: each for each in model.mask_inputs}


def check_parts(known: Collection[str], setting: str, parts: Sequence[str]) -> None:
    """Raise a UserError unless a model has all parts that a setting names."""
    for part in parts:
        if part not in known:
            raise UserError(
                f"{setting} names the part {part!r}, which the model does not have."
                f"{did_you_mean(part, known)} Its parts are {', '.join(known)}.")


def load_initial_weights(
    model: MaskRCNN, checkpoint: str, parts: Sequence[str]
) -> None:
    """Load weights from a checkpoint into a model whose variables exist.

    Args:
        model: The model.
        checkpoint: Path of a checkpoint without extension, or of a folder, whose latest checkpoint
            is used. Like a gin file, it is searched in the working directory, then beside `gin/`.
        parts: Names of parts to load, or "all"; every variable of these parts must be in the
            checkpoint.

    Raises:
        UserError: If there is no such checkpoint, or a variable is missing or has another shape.
    """
    path = _find(checkpoint) or _find(os.path.join(ROOT, checkpoint))  # noqa: PTH118 (gs://)
    if path is None:
        raise UserError(f"Training.init_checkpoint = {checkpoint!r}: there is no such checkpoint.")
    named = named_parts(model)
    wanted = named if "all" in parts else {part: named[part] for part in parts}
    try:
        status = tf.train.Checkpoint(**wanted).read(path)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Training.init_checkpoint = {checkpoint!r} does not fit the model's "
            f"{', '.join(wanted)}: {reason}") from error


def _find(name: str) -> str | None:
    """Return the path of a checkpoint without extension; None if there is none."""
    path = tf.train.latest_checkpoint(name) if tf.io.gfile.isdir(name) else name
    return path if path is not None and tf.io.gfile.exists(f"{path}.index") else None
