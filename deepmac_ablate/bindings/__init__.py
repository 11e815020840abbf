"""Gin in one place: only this room calls ``gin.parse_*``, reads gin's state or words its errors.

A binding goes through these modules::

    text (reads it, with file and line) -> checks (names, types, missing values) -> parsing (gin)
      └-> identity (the bindings that make up a trial's id)    construction -> unused_bindings

Other rooms call the functions listed below through the package: `bindings.read(...)`,
`bindings.parse(...)`, `bindings.merge(...)`. Modules of this room import them by name.
"""

from deepmac_ablate.bindings.identity import (
    ROOTS,
    binding_sources,
    expanded_bindings,
    explicit_bindings,
    reachable_bindings,
)
from deepmac_ablate.bindings.parsing import (
    config_text,
    configure_gin,
    constructing,
    isolated,
    operative_text,
    parse,
    read_partial,
)
from deepmac_ablate.bindings.registry import Calls, add_calls, recorded_calls, signature_problems
from deepmac_ablate.bindings.statements import file_stamp
from deepmac_ablate.bindings.text import (
    Binding,
    GinFile,
    Text,
    all_gin_files,
    imported_modules,
    merge,
    read,
    same_configurable,
)
from deepmac_ablate.bindings.unused_bindings import (
    UnusedBindingError,
    check_all_bindings_used,
    find_unused_bindings,
    unused_binding_problems,
)

__all__ = [
    "ROOTS",
    "Binding",
    "Calls",
    "GinFile",
    "Text",
    "UnusedBindingError",
    "add_calls",
    "all_gin_files",
    "binding_sources",
    "check_all_bindings_used",
    "config_text",
    "configure_gin",
    "constructing",
    "expanded_bindings",
    "explicit_bindings",
    "file_stamp",
    "find_unused_bindings",
    "imported_modules",
    "isolated",
    "merge",
    "operative_text",
    "parse",
    "reachable_bindings",
    "read",
    "read_partial",
    "recorded_calls",
    "same_configurable",
    "signature_problems",
    "unused_binding_problems",
]
