"""Checks of bindings before anything is built: names, types, ranges and missing values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.bindings import annotations, registry
from deepmac_ablate.bindings.identity import binding_sources
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import Macro, Reference, expand_macros, leaf_values
from deepmac_ablate.errors import UserError, did_you_mean


def binding_problems(bindings: Sequence[Binding]) -> Iterator[UserError]:
    """Yield every conflict of bindings with the registered configurables, with file and line.

    Problems with names come first: an unknown configurable or parameter, or a reference to an
    unknown configurable. Every binding is checked for them. Values are checked only in bindings
    that win, because ``%gin.REQUIRED`` is meant to be replaced: an undefined macro, a type other
    than the parameter's annotation, a number out of its range, or a value still required.
    """
    wrong = []
    for binding in bindings:
        if problem := _problem(binding, lambda binding=binding: _check_names(binding)):
            wrong.append(binding.name)
            yield problem
    try:
        merged = merge(bindings)
    except UserError as problem:
        yield problem
        return
    macros = {binding.parameter: binding.value for binding in merged.values() if binding.is_macro}
    for binding in merged.values():
        # The value of an unknown parameter cannot be checked.
        if binding.name not in wrong and (problem := _value_problem(binding, merged, macros)):
            yield problem


def _value_problem(
    binding: Binding, merged: Mapping[str, Binding], macros: Mapping[str, Any]
) -> UserError | None:
    problem = _problem(binding, lambda: _check_macros(binding, macros))
    if problem or binding.is_macro:
        return problem
    return _problem(binding, lambda: _check_value(binding, macros), merged)


def _problem(
    binding: Binding, check: Callable[[], None], merged: Mapping[str, Binding] | None = None
) -> UserError | None:
    """Return the error of a check with the place of the binding, and of the macros in its value."""
    try:
        check()
    except UserError as error:
        _, *macros = binding_sources(binding, merged or {})
        set_at = f" ({', '.join(macro.place for macro in macros)})" if macros else ""
        problem = UserError(f"{binding.place}{set_at}: {error}")
        problem.__cause__ = error
        return problem
    return None


def check_names(bindings: Iterable[Binding]) -> None:
    """Check that the configurables and parameters that bindings name exist; values are not checked.

    Raises:
        UserError: For the first binding of an unknown configurable or parameter, or with a
            reference to an unknown configurable.
    """
    for binding in bindings:
        if problem := _problem(binding, lambda binding=binding: _check_names(binding)):
            raise problem


def _check_names(binding: Binding) -> None:
    for part in leaf_values(binding.value):
        if isinstance(part, Reference):
            registry.find_configurable(part.selector)
    if binding.is_macro:
        return
    configurable = registry.find_configurable(binding.selector)
    known = registry.bindable_parameters(configurable)
    if binding.parameter not in known:
        hint = did_you_mean(binding.parameter, known) or f" It has {', '.join(known) or 'none'}."
        raise UserError(f"{binding.selector} has no parameter '{binding.parameter}'.{hint}")


def _check_macros(binding: Binding, macros: Mapping[str, Any]) -> None:
    for part in leaf_values(binding.value):
        if not isinstance(part, Macro):
            continue
        if part.is_required:
            raise UserError(
                f"{binding.name} must be set; add a binding such as '{binding.name} = ...'."
            )
        if part.name not in macros and not registry.matching_constants(part.name):
            raise UserError(f"macro {part} is not defined.{did_you_mean(part.name, macros)}")


def _check_value(binding: Binding, macros: Mapping[str, Any]) -> None:
    configurable = registry.find_configurable(binding.selector)
    parameter = registry.bindable_parameters(configurable)[binding.parameter]
    value = expand_macros(binding.value, macros)
    try:
        annotation = registry.parameter_annotation(configurable, parameter)
    except NameError:
        # `signature_problems` reports this for our own configurables; others cannot be checked.
        return
    if not annotations.value_fits(value, annotation):
        raise UserError(f"{binding.parameter} {annotations.describe_mismatch(value, annotation)}")
