"""Export of a trained trial as a SavedModel that does not need this project.

::

    OUTPUT/saved_model/    the model, for `tf.saved_model.load`
    OUTPUT/export.json     trial, step, image size, inputs, class names and roles
    OUTPUT/config.gin      configuration of the trial
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.serving import InputType
from deepmac_ablate.serving.signatures import trace_signature
from deepmac_ablate.serving.trained import TrainedModel, load_trained
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json

# Signature that loaders use by default.
_DEFAULT_NAME = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def export_model(
    workdir: str,
    output: str | None,
    inputs: Sequence[InputType],
    batch_size: int | None,
    image_size: Sequence[int] | None,
    normalized: bool,
    extra_bindings: Sequence[str],
) -> list[str]:
    """Export the latest checkpoint of a trial.

    Args:
        workdir: Workdir of the trial. Only the output is written there.
        output: Folder that does not exist yet; None takes "export" in `workdir`.
        inputs: Input types, one function each. The first is "serving_default", as in Model
            Garden's exports; if there are several, each also has its own name.
        batch_size: Number of images; None allows any number.
        image_size: Height and width that images are resized to fit; None takes those of training.
        normalized: True gives detected boxes in units of the image's size.
        extra_bindings: Bindings that override those of the trial.

    Returns:
        Lines that describe the export to a user.

    Raises:
        UserError: If `output` exists, there is nothing to export, or an option is wrong.
    """
    folder = epath.Path(output) if output else epath.Path(workdir) / "export"
    file_io.refuse_existing(folder)
    if batch_size is not None:
        check_at_least(1, batch_size=batch_size)
    if twice := {kind for kind in inputs if inputs.count(kind) > 1}:
        raise UserError(f"The input type {twice.pop()} is given twice.")
    if image_size is not None:
        extra_bindings = [*extra_bindings, f"MaskRCNN.image_size = {tuple(image_size)}"]
    trained = load_trained(workdir, extra_bindings)
    trained.check_detector(
        set(inputs) == {"image_and_boxes_tensor"},
        "export it with --input-type image_and_boxes_tensor")
    functions = {
        kind: trace_signature(trained.model, kind, batch_size, normalized, trained.classes.labels)
        for kind in inputs}
    # Only the variables: with the whole model, Keras would also trace each of its layers.
    holder = tf.Module()
    holder.weights = list(trained.model.variables)
    with file_io.atomic_folder(folder) as unfinished:
        named = dict(functions) if len(functions) > 1 else {}
        tf.saved_model.save(
            holder, str(unfinished / "saved_model"),
            signatures={_DEFAULT_NAME: functions[inputs[0]], **named})
        file_io.write(unfinished / "config.gin", bindings.config_text())
        file_io.write(
            unfinished / "export.json",
            to_json(_describe_model(trained, inputs, normalized), indent=2) + "\n")
    return [
        f"{folder}: step {trained.step} of trial {trained.trial_id}",
        *(line for kind, function in functions.items()
          for line in _describe_function(kind, function)),
    ]


def _describe_model(
    trained: TrainedModel, inputs: Sequence[InputType], normalized: bool
) -> dict[str, Any]:
    classes, model = trained.classes, trained.model
    return {
        "trial": trained.trial_id,
        "step": trained.step,
        "image_size": list(model.image_size),
        "mask_size": model.mask_head.mask_size,
        "class_agnostic": model.mask_head.class_agnostic,
        "inputs": list(inputs),
        "normalized_coordinates": normalized,
        "classes": [
            {"id": i, "name": classes.names.get(i), "role": classes.roles.get(i)}
            for i in sorted({*classes.names, *classes.roles})],
    }


def _describe_function(
    kind: InputType, function: tf.types.experimental.ConcreteFunction
) -> list[str]:
    arguments, _ = function.structured_input_signature
    lines = [f"{kind}: {', '.join(f'{spec.name} {_format_spec(spec)}' for spec in arguments)}"]
    outputs = function.structured_outputs.items()
    return lines + [f"  -> {name} {_format_spec(spec)}" for name, spec in outputs]


def _format_spec(spec: tf.TensorSpec) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in spec.shape.as_list())
    return f"[{sizes}] {spec.dtype.name}"
