"""Model keys: texts that are equal for two configurations with the same model or trunk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.values import Reference
from deepmac_ablate.errors import UserError

# Parameters of a model that affect only its mask branch.
_MASK_BRANCH_PARAMETERS = ("mask_head", "mask_inputs", "mask_boxes", "pad_to_all_slots")


class ModelKeys(NamedTuple):
    """Keys of a model; empty if the configuration has no model.

    Attributes:
        trunk: The key of everything except the mask branch.
        model: The key of the whole model.
    """

    trunk: str = ""
    model: str = ""


def model_keys(bound: Sequence[bindings.Binding]) -> ModelKeys:
    """Return the keys of the model that `Training.model` refers to.

    Args:
        bound: The bindings that `bindings.read` returned, checked or not.
    """
    try:
        expanded = bindings.expanded_bindings(bound)
        root = next((
            binding.value.scoped_selector for binding in expanded
            if isinstance(binding.value, Reference) and _is_parameter(binding, "Training", "model")
        ), None)
        if root is None:
            return ModelKeys()
        selector = root.rpartition("/")[2]
        trunk = [
            binding for binding in expanded
            if not _is_parameter(binding, selector, *_MASK_BRANCH_PARAMETERS)]
        return ModelKeys(*(
            json.dumps([root, bindings.explicit_bindings(some, root)])
            for some in (trunk, expanded)))
    except UserError:
        # The validator reports the problem.
        return ModelKeys()


def _is_parameter(binding: bindings.Binding, selector: str, *parameters: str) -> bool:
    return binding.parameter in parameters and bindings.same_configurable(
        binding.selector, selector)
