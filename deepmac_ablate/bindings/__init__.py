"""Gin in one place: nothing else calls ``gin.parse_*``, reads gin's state or words its errors.

The way of a binding::

    text (read, with file and line) -> checks (names, types, required) -> parsing (gin holds it)
      └-> identity (what the trial's id is made of)    everything is constructed -> effect
"""

from deepmac_ablate.bindings.effect import (
    BindingHadNoEffect,
    check_took_effect,
    inactive_bindings,
)
from deepmac_ablate.bindings.identity import explicit_bindings
from deepmac_ablate.bindings.parsing import (
    config_text,
    constructing,
    isolated,
    operative_text,
    parse,
)
from deepmac_ablate.bindings.registry import signature_problems
from deepmac_ablate.bindings.text import Binding, merge, read

__all__ = [
    "Binding",
    "BindingHadNoEffect",
    "check_took_effect",
    "config_text",
    "constructing",
    "explicit_bindings",
    "inactive_bindings",
    "isolated",
    "merge",
    "operative_text",
    "parse",
    "read",
    "signature_problems",
]
