"""What gin knows: the registered configurables, their parameters and what was called with them.

The only module that touches gin's private state; the tests pin what it relies on.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gin

from deepmac_ablate.bindings import annotations
from deepmac_ablate.errors import UserError, did_you_mean

# gin's own configurables are no part of a model; `macro` and `constant` stand for `%NAME`.
_GIN_MODULE = "gin"

# By scope and complete selector, the parameters that gin or their default supplied.
Calls = dict[tuple[str, str], dict[str, Any]]


def find(selector: str) -> gin.config.Configurable:
    """Return the one configurable that a selector names.

    Raises:
        UserError: If there is none, or more than one.
    """
    registry = gin.config._REGISTRY
    selectors = registry.matching_selectors(selector)
    if len(selectors) == 1:
        return registry[selectors[0]]
    if selectors:
        raise UserError(f"'{selector}' may be {' or '.join(sorted(selectors))}; write which.")
    hint = did_you_mean(selector, sorted({known.name for known in configurables()}))
    raise UserError(f"no configurable is called '{selector}'.{hint}")


def configurables(module_prefix: str = "") -> list[gin.config.Configurable]:
    """Return what was registered by modules whose name starts with a prefix; gin's own never."""
    return [
        known
        for _, known in gin.config._REGISTRY.items()
        if known.module != _GIN_MODULE and (known.module or "").startswith(module_prefix)
    ]


def constants(name: str) -> list[str]:
    """Return the names of the constants that ``%name`` may stand for."""
    return gin.config._CONSTANTS.matching_selectors(name)


def function(configurable: gin.config.Configurable) -> Callable[..., Any]:
    """Return the function whose parameters gin binds: for a class, its constructor."""
    wrapped = configurable.wrapped
    if inspect.isclass(wrapped):
        has_init = wrapped.__init__ is not object.__init__
        wrapped = wrapped.__init__ if has_init else wrapped.__new__
    return inspect.unwrap(wrapped)


def parameters(configurable: gin.config.Configurable) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be bound by name, without ``self`` and ``**kwargs``."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {known.name: known for known in _signature(configurable) if known.kind in named}


def signature_problems(module_prefix: str) -> list[str]:
    """Say what in the signatures of registered configurables would let a mistake pass.

    ``**kwargs`` takes every misspelt parameter, and a parameter whose annotation is missing or
    does not resolve takes a value of every type.

    Args:
        module_prefix: For example "deepmac_ablate"; other packages are not ours to judge.

    Returns:
        One sentence for each problem, sorted.
    """
    problems = []
    for known in configurables(module_prefix):
        if any(it.kind is inspect.Parameter.VAR_KEYWORD for it in _signature(known)):
            problems.append(f"{known.selector} has **kwargs, which take every misspelt parameter.")
        for parameter in parameters(known).values():
            place = f"Parameter {parameter.name!r} of {known.selector}"
            if parameter.annotation is inspect.Parameter.empty:
                problems.append(f"{place} has no annotation.")
                continue
            try:
                annotations.of(function(known), parameter)
            except NameError as error:
                problems.append(f"{place}: its annotation does not resolve ({error}).")
    return sorted(problems)


def calls() -> Calls:
    """Return the operative configuration: what gin passed to which configurable.

    Returns:
        By scope of the call and complete selector, the parameters that gin or their default
        supplied at least once. A parameter that every caller passed itself is missing.
    """
    with gin.config._OPERATIVE_CONFIG_LOCK:
        return {key: dict(values) for key, values in gin.config._OPERATIVE_CONFIG.items()}


@contextlib.contextmanager
def recorded_calls() -> Iterator[Calls]:
    """Yield a dictionary that holds the calls of the block, and no others, once it has ended."""
    before, made = calls(), Calls()
    gin.config._OPERATIVE_CONFIG.clear()
    try:
        yield made
    finally:
        made.update(calls())
        gin.config._OPERATIVE_CONFIG.clear()
        add_calls(before)
        add_calls(made)


def add_calls(made: Calls) -> None:
    """Add calls to the operative configuration, as if they had just been made."""
    for call, values in made.items():
        gin.config._OPERATIVE_CONFIG.setdefault(call, {}).update(values)


def family(configurable: gin.config.Configurable) -> set[object]:
    """Return what siblings share: the abstract classes they are of, or else their module."""
    wrapped = configurable.wrapped
    ancestors = wrapped.__mro__ if inspect.isclass(wrapped) else ()
    return set(filter(inspect.isabstract, ancestors)) or {configurable.module}


def parse_value(text: str) -> Any:  # noqa: ANN401
    """Return a value as gin holds it, with gin's own references in it."""
    return gin.config.parse_value(text)


def _signature(configurable: gin.config.Configurable) -> list[inspect.Parameter]:
    constructor = function(configurable)
    if constructor is object.__new__:
        return []
    every = list(inspect.signature(constructor).parameters.values())
    return every[1:] if inspect.isclass(configurable.wrapped) else every
