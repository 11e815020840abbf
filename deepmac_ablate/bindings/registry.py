"""Gin's registry: the configurables, their parameters, and the values that calls received.

The only module that touches gin's private state; tests pin the behaviour that it relies on.
"""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import gin

from deepmac_ablate.errors import UserError, did_you_mean

# Gin's own configurables are not listed; `macro` and `constant` implement `%NAME`.
_GIN_MODULE = "gin"

# Values that gin or defaults supplied, by (scope, complete selector) and parameter.
Calls = dict[tuple[str, str], dict[str, Any]]


def find_configurable(selector: str) -> gin.config.Configurable:
    """Return the configurable that a selector names.

    Raises:
        UserError: If no configurable or more than one has this name.
    """
    registry = gin.config._REGISTRY
    selectors = registry.matching_selectors(selector)
    if len(selectors) == 1:
        return registry[selectors[0]]
    if selectors:
        raise UserError(
            f"'{selector}' is ambiguous: write {' or '.join(sorted(selectors))}.")
    hint = did_you_mean(selector, sorted({known.name for known in configurables()}))
    raise UserError(f"no configurable is called '{selector}'.{hint}")


def configurables(module_prefix: str = "") -> list[gin.config.Configurable]:
    """Return the configurables of modules whose name starts with a prefix, without gin's own."""
    return [
        known
        for _, known in gin.config._REGISTRY.items()
        if known.module != _GIN_MODULE and (known.module or "").startswith(module_prefix)
    ]


def matching_constants(name: str) -> list[str]:
    """Return the names of the registered constants that ``%name`` matches."""
    return gin.config._CONSTANTS.matching_selectors(name)


def bindable_function(configurable: gin.config.Configurable) -> Callable[..., Any]:
    """Return the function whose parameters gin binds; for a class, its constructor."""
    wrapped = configurable.wrapped
    if inspect.isclass(wrapped):
        has_init = wrapped.__init__ is not object.__init__
        wrapped = wrapped.__init__ if has_init else wrapped.__new__
    return inspect.unwrap(wrapped)


def bindable_parameters(configurable: gin.config.Configurable) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be bound, by name, without ``self`` and ``**kwargs``."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {known.name: known for known in _signature(configurable) if known.kind in named}


def parameter_annotation(
    configurable: gin.config.Configurable, parameter: inspect.Parameter
) -> Any:  # noqa: ANN401
    """Return the annotation of one parameter as an object.

    Annotations are resolved one at a time, so that one that names a type imported only for type
    checkers does not prevent the others from being resolved.

    Raises:
        NameError: If the annotation is a string that does not resolve.
    """
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    resolved = typing.get_type_hints(
        holder, globalns=bindable_function(configurable).__globals__, include_extras=True)
    return resolved[parameter.name]


def returned_type(selector: str) -> Any:  # noqa: ANN401
    """Return the type of the object that a configurable makes; Any if it is not annotated.

    Raises:
        UserError: See `find_configurable`.
    """
    wrapped = find_configurable(selector).wrapped
    if inspect.isclass(wrapped):
        return wrapped
    with contextlib.suppress(NameError):
        return typing.get_type_hints(inspect.unwrap(wrapped)).get("return", Any)
    return Any


def signature_problems(module_prefix: str) -> list[str]:
    """Return the weaknesses in signatures of configurables that would let a wrong binding pass.

    ``**kwargs`` accepts every misspelled parameter, and a parameter whose annotation is missing or
    does not resolve accepts a value of any type.

    Args:
        module_prefix: Start of the names of the modules to check, such as "deepmac_ablate".

    Returns:
        One sentence for each problem, sorted.
    """
    problems = []
    for known in configurables(module_prefix):
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _signature(known)):
            problems.append(
                f"{known.selector} has **kwargs, which accepts every misspelled parameter.")
        for parameter in bindable_parameters(known).values():
            place = f"Parameter {parameter.name!r} of {known.selector}"
            if parameter.annotation is inspect.Parameter.empty:
                problems.append(f"{place} has no annotation.")
                continue
            try:
                parameter_annotation(known, parameter)
            except NameError as error:
                problems.append(f"{place}: its annotation does not resolve ({error}).")
    return sorted(problems)


def operative_calls() -> Calls:
    """Return the operative configuration: the values that gin passed to each configurable.

    Returns:
        By scope of the call and complete selector, the parameters that gin or their default
        supplied at least once. A parameter that every caller passed explicitly is missing.
    """
    with gin.config._OPERATIVE_CONFIG_LOCK:
        return {key: dict(values) for key, values in gin.config._OPERATIVE_CONFIG.items()}


@contextlib.contextmanager
def recorded_calls() -> Iterator[Calls]:
    """Yield a dictionary that is filled with the calls of the block when the block ends."""
    before, made = operative_calls(), Calls()
    gin.config._OPERATIVE_CONFIG.clear()
    try:
        yield made
    finally:
        made.update(operative_calls())
        gin.config._OPERATIVE_CONFIG.clear()
        add_calls(before)
        add_calls(made)


def add_calls(made: Calls) -> None:
    """Add calls to the operative configuration as if they had just been made."""
    for call, values in made.items():
        gin.config._OPERATIVE_CONFIG.setdefault(call, {}).update(values)


def shared_bases(configurable: gin.config.Configurable) -> set[object]:
    """Return what alternatives of a configurable share: abstract base classes, or its module."""
    wrapped = configurable.wrapped
    ancestors = wrapped.__mro__ if inspect.isclass(wrapped) else ()
    return set(filter(inspect.isabstract, ancestors)) or {configurable.module}


def parse_value(text: str) -> Any:  # noqa: ANN401
    """Parse a value into gin's own representation, which holds gin's reference objects."""
    return gin.config.parse_value(text)


def _signature(configurable: gin.config.Configurable) -> list[inspect.Parameter]:
    constructor = bindable_function(configurable)
    if constructor is object.__new__:
        return []
    every = list(inspect.signature(constructor).parameters.values())
    return every[1:] if inspect.isclass(configurable.wrapped) else every
