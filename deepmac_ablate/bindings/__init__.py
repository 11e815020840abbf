"""Gin in one place: nothing else calls ``gin.parse_*``, reads gin's state or words its errors.

The way of a binding::

    text (read, with file and line) -> checks (names, types, required) -> parsing (gin holds it)
      └-> identity (what the trial's id is made of)    everything is constructed -> effect
"""

from deepmac_ablate.bindings.effect import (
    BindingHadNoEffect,
    check_took_effect,
    effect_problems,
    inactive_bindings,
)
from deepmac_ablate.bindings.identity import ROOTS, expanded, explicit_bindings, reachable, sources
from deepmac_ablate.bindings.parsing import (
    config_text,
    configure_gin,
    constructing,
    isolated,
    operative_text,
    parse,
    read_known,
)
from deepmac_ablate.bindings.registry import Calls, add_calls, recorded_calls, signature_problems
from deepmac_ablate.bindings.statements import stamp
from deepmac_ablate.bindings.text import (
    Binding,
    GinFile,
    Text,
    files_read,
    merge,
    modules,
    read,
    same_configurable,
)

__all__ = [
    "ROOTS",
    "Binding",
    "BindingHadNoEffect",
    "Calls",
    "GinFile",
    "Text",
    "add_calls",
    "check_took_effect",
    "config_text",
    "configure_gin",
    "constructing",
    "effect_problems",
    "expanded",
    "explicit_bindings",
    "files_read",
    "inactive_bindings",
    "isolated",
    "merge",
    "modules",
    "operative_text",
    "parse",
    "reachable",
    "read",
    "read_known",
    "recorded_calls",
    "same_configurable",
    "signature_problems",
    "sources",
    "stamp",
]
