"""Identity of a trial: the bindings that its training can reach, as canonical text.

Resolved from the text alone, so that planning hundreds of trials needs no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from deepmac_ablate.bindings.text import Binding, merge, same_configurable
from deepmac_ablate.bindings.values import Macro, expand_macros, leaf_values

# The first root defines a trial. The others may change without making it another trial: devices,
# logs and evaluation. A binding that is reachable from both belongs to the trial.
TRAINING = "Training"
ROOTS = (TRAINING, "Runtime", "Evaluation")


def explicit_bindings(bindings: Iterable[Binding], root: str = TRAINING) -> dict[str, str]:
    """Return the bindings of a root, direct ones and those of its references, as canonical text.

    Args:
        bindings: The result of `read` or `parse`.
        root: The name of a configurable.

    Returns:
        Values by name, sorted by name, with macros expanded. Two results are equal if and only if
        the same values are bound; defaults are not included.

    Raises:
        UserError: See `text.merge` and `values.expand_macros`.
    """
    reached = reachable_bindings(bindings, root)
    return {name: reached[name].canonical_value for name in sorted(reached)}


def reachable_bindings(bindings: Iterable[Binding], root: str) -> dict[str, Binding]:
    """Return the winning bindings of a root and of everything that its values refer to, by name.

    As in gin, a reference without a scope is called in the scope of the call that needs it. Calls
    that code makes without a reference are invisible here; `check_all_bindings_used` refuses their
    bindings.

    Args:
        bindings: The result of `read` or `parse`.
        root: The name of a configurable, with its scope if it is called in one.

    Returns:
        The bindings with macros expanded in their values.
    """
    bound: dict[str, list[Binding]] = {}
    for binding in expanded_bindings(bindings):
        bound.setdefault(binding.short_selector, []).append(binding)
    reached: dict[str, Binding] = {}
    outer, _, configurable = root.rpartition("/")
    seen, waiting = set(), [(outer, configurable)]
    while waiting:
        scope, selector = call = waiting.pop()
        if call in seen:
            continue
        seen.add(call)
        for binding in bound.get(selector.rpartition(".")[2], ()):
            if binding.applies_in(scope) and same_configurable(binding.selector, selector):
                reached[binding.name] = binding
                waiting += [(ref.scope or scope, ref.selector) for ref in binding.references]
    return reached


def binding_sources(binding: Binding, merged: Mapping[str, Binding]) -> tuple[Binding, ...]:
    """Return a binding and the macros in its value, resolved in turn; the last sets the value.

    Args:
        binding: The binding as it was written.
        merged: The result of `text.merge`.
    """
    found, waiting = [binding], [binding]
    while waiting:
        for part in leaf_values(waiting.pop().value):
            if isinstance(part, Macro) and (macro := merged.get(part.name)) not in (None, *found):
                found.append(macro)
                waiting.append(macro)
    return tuple(found)


def expanded_bindings(bindings: Iterable[Binding]) -> list[Binding]:
    """Return the winning bindings of parameters, with macros expanded in their values.

    Raises:
        UserError: See `text.merge` and `values.expand_macros`.
    """
    merged = merge(bindings).values()
    macros = {binding.parameter: binding.value for binding in merged if binding.is_macro}
    return [
        dataclasses.replace(binding, value=expand_macros(binding.value, macros))
        if binding.has_macros
        else binding
        for binding in merged
        if not binding.is_macro
    ]
