"""What makes two trials the same: the bindings that their training can reach, as text.

Resolved from the text alone, so that a plan of hundreds of trials needs no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from deepmac_ablate.bindings.text import Binding, merge, same_configurable
from deepmac_ablate.bindings.values import Macro, expand, parts

# What a trial is, then what it may be without becoming another: devices, logs and how it is
# evaluated. A binding that both reach is part of the trial.
TRAINING = "Training"
ROOTS = (TRAINING, "Runtime", "Evaluation")


def explicit_bindings(bindings: Iterable[Binding], root: str = TRAINING) -> dict[str, str]:
    """Return what a root is bound to, directly and through references, as canonical text.

    Args:
        bindings: What `read` or `parse` returned.
        root: A configurable.

    Returns:
        Values by name, sorted by name, with macros expanded. Equal exactly where the same values
        are bound; defaults are not in it.

    Raises:
        UserError: As `text.merge` and `values.expand`.
    """
    reached = reachable(bindings, root)
    return {name: reached[name].canonical_value for name in sorted(reached)}


def reachable(bindings: Iterable[Binding], root: str) -> dict[str, Binding]:
    """Return the winning bindings of a root and of what its values refer to, by name.

    As in gin, a reference without a scope is called in the scope of the call that needs it. What
    code calls without being told by a reference cannot be seen here; `check_took_effect` refuses
    it.

    Args:
        bindings: What `read` or `parse` returned.
        root: A configurable, with its scope if it is called in one.

    Returns:
        The bindings with macros expanded in their values.
    """
    bound: dict[str, list[Binding]] = {}
    for binding in expanded(bindings):
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


def sources(binding: Binding, merged: Mapping[str, Binding]) -> tuple[Binding, ...]:
    """Return a binding, and the macros that its value is made of; the last decides the value.

    Args:
        binding: As it was written.
        merged: What `text.merge` returned.
    """
    found, waiting = [binding], [binding]
    while waiting:
        for part in parts(waiting.pop().value):
            if isinstance(part, Macro) and (macro := merged.get(part.name)) not in (None, *found):
                found.append(macro)
                waiting.append(macro)
    return tuple(found)


def expanded(bindings: Iterable[Binding]) -> list[Binding]:
    """Return the bindings of parameters that win, with macros expanded in their values.

    Raises:
        UserError: As `text.merge` and `values.expand`.
    """
    merged = merge(bindings).values()
    macros = {binding.parameter: binding.value for binding in merged if binding.is_macro}
    return [
        dataclasses.replace(binding, value=expand(binding.value, macros))
        if binding.has_macros
        else binding
        for binding in merged
        if not binding.is_macro
    ]
