"""A trained trial -> a SavedModel that serves without this project.

::

    OUTPUT/saved_model/    what `tf.saved_model.load` takes
    OUTPUT/export.json     trial, step, image size, inputs, class names and roles
    OUTPUT/config.gin      what the trial was asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from etils import epath

from deepmac_ablate import bindings, storage
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.serving import signatures, trained
from deepmac_ablate.serving.inputs import Input
from deepmac_ablate.storage.strict_json import to_json

# Where loaders look when they are told nothing.
_DEFAULT_NAME = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def run(
    workdir: str,
    output: str | None,
    inputs: Sequence[Input],
    batch_size: int | None,
    image_size: Sequence[int] | None,
    normalized: bool,
    further: Sequence[str],
) -> list[str]:
    """Export the last checkpoint of a trial.

    Args:
        workdir: of the trial; nothing in it is changed but the output below.
        output: a folder that does not exist yet; None: "export" in `workdir`.
        inputs: what goes into the functions. The first is "serving_default", as in Model Garden's
            exports; of several each is also found under its own name.
        batch_size: how many images go in; None: any number.
        image_size: height and width that pictures are resized to fit; None: as in training.
        normalized: whether detected boxes are in units of the picture's size.
        further: bindings that win over the trial's.

    Returns:
        What was written, in lines for people.

    Raises:
        UserError: if there is something at `output`, nothing to export, or an option is wrong.
    """
    folder = epath.Path(output) if output else epath.Path(workdir) / "export"
    storage.refuse_existing(folder)
    if batch_size is not None:
        check_at_least(1, batch_size=batch_size)
    if twice := {kind for kind in inputs if inputs.count(kind) > 1}:
        raise UserError(f"The input {twice.pop()} is named twice.")
    if image_size is not None:
        further = [*further, f"MaskRCNN.image_size = {tuple(image_size)}"]
    model = trained.load(workdir, further)
    functions = {
        kind: signatures.trace(model.model, kind, batch_size, normalized) for kind in inputs}
    # Only the variables: given the whole model, Keras would trace each of its layers, too.
    holder = tf.Module()
    holder.weights = list(model.model.variables)
    with storage.whole_folder(folder) as unfinished:
        named = dict(functions) if len(functions) > 1 else {}
        tf.saved_model.save(
            holder, str(unfinished / "saved_model"),
            signatures={_DEFAULT_NAME: functions[inputs[0]], **named})
        storage.write(unfinished / "config.gin", bindings.config_text())
        storage.write(
            unfinished / "export.json",
            to_json(_facts(model, inputs, normalized), indent=2) + "\n")
    return [
        f"{folder}: step {model.step} of trial {model.trial_id}",
        *(line for kind, function in functions.items() for line in _describe(kind, function)),
    ]


def _facts(model: trained.Trained, inputs: Sequence[Input], normalized: bool) -> dict[str, Any]:
    classes = model.classes
    return {
        "trial": model.trial_id,
        "step": model.step,
        "image_size": list(model.model.image_size),
        "mask_size": model.model.mask_head.mask_size,
        "class_agnostic": model.model.mask_head.class_agnostic,
        "inputs": list(inputs),
        "normalized_coordinates": normalized,
        "classes": [
            {"id": i, "name": classes.names.get(i), "role": classes.roles.get(i)}
            for i in sorted({*classes.names, *classes.roles})],
    }


def _describe(kind: Input, function: tf.types.experimental.ConcreteFunction) -> list[str]:
    arguments, _ = function.structured_input_signature
    lines = [f"{kind}: {', '.join(f'{spec.name} {_spec(spec)}' for spec in arguments)}"]
    lines += [f"  -> {name} {_spec(spec)}" for name, spec in function.structured_outputs.items()]
    return lines


def _spec(spec: tf.TensorSpec) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in spec.shape.as_list())
    return f"[{sizes}] {spec.dtype.name}"
