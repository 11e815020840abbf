"""What can be known to be wrong before anything is built: names, types and missing values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.bindings import annotations, registry
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import Macro, Reference, expand, parts
from deepmac_ablate.errors import UserError, did_you_mean


def problems(bindings: Sequence[Binding]) -> Iterator[UserError]:
    """Yield every problem with bindings against the registered configurables, with its place.

    Problems with names come first: an unknown configurable or parameter, a reference to nothing.
    They are looked for in every binding; those with values only in bindings that win, as
    ``%gin.REQUIRED`` is there to be replaced: a macro that is not defined, another type than the
    parameter's annotation, a value that is still required.
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
        # Values of what nobody knows cannot be judged.
        if binding.name not in wrong and (problem := value_problem(binding, macros)):
            yield problem


def value_problem(binding: Binding, macros: Mapping[str, Any]) -> UserError | None:
    """Return what is wrong with the value of a binding whose names are known, if anything is.

    Args:
        binding: One that wins.
        macros: The value of each macro by its name.
    """
    def check() -> None:
        _check_macros(binding, macros)
        if not binding.is_macro:
            _check_type(binding, macros)

    return _problem(binding, check)


def _problem(binding: Binding, check: Callable[[], None]) -> UserError | None:
    try:
        check()
    except UserError as error:
        problem = UserError(f"{binding.place}: {error}")
        problem.__cause__ = error
        return problem
    return None


def check_names(bindings: Iterable[Binding]) -> None:
    """Check that there is what bindings name, and nothing else.

    Raises:
        UserError: For the first binding of an unknown configurable or parameter, or with a
            reference to nothing.
    """
    for binding in bindings:
        if problem := _problem(binding, lambda binding=binding: _check_names(binding)):
            raise problem


def _check_names(binding: Binding) -> None:
    for part in parts(binding.value):
        if isinstance(part, Reference):
            registry.find(part.selector)
    if binding.is_macro:
        return
    configurable = registry.find(binding.selector)
    known = registry.parameters(configurable)
    if binding.parameter not in known:
        hint = did_you_mean(binding.parameter, known) or f" It has {', '.join(known) or 'none'}."
        raise UserError(f"{binding.selector} has no parameter '{binding.parameter}'.{hint}")


def _check_macros(binding: Binding, macros: Mapping[str, Any]) -> None:
    for part in parts(binding.value):
        if not isinstance(part, Macro):
            continue
        if part.is_required:
            raise UserError(
                f"{binding.name} must be set; add a binding such as '{binding.name} = ...'."
            )
        if part.name not in macros and not registry.constants(part.name):
            raise UserError(f"no macro {part} is defined.{did_you_mean(part.name, macros)}")


def _check_type(binding: Binding, macros: Mapping[str, Any]) -> None:
    configurable = registry.find(binding.selector)
    parameter = registry.parameters(configurable)[binding.parameter]
    value = expand(binding.value, macros)
    try:
        annotation = annotations.of(registry.function(configurable), parameter)
    except NameError:
        # `signature_problems` reports it for our own configurables; others cannot be judged.
        return
    if not annotations.fits(value, annotation):
        raise UserError(f"{binding.parameter} {annotations.expected(value, annotation)}")
