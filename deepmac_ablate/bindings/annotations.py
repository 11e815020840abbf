"""Whether a value fits the annotation of the parameter it is bound to.

gin never looks at annotations: ``depth = '52'`` reaches the module and fails there, or does not.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union

from deepmac_ablate.bindings.values import Macro, Reference
from deepmac_ablate.errors import did_you_mean


def of(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:  # noqa: ANN401
    """Return a parameter's annotation as an object.

    One at a time: where one annotation names a type that is imported for type checkers only, the
    others still resolve.

    Raises:
        NameError: If the annotation is a string that does not resolve.
    """
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    return typing.get_type_hints(alone, globalns=function.__globals__)[parameter.name]


def fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401
    """Whether a value is of an annotated type, exactly: an int is a float, a bool is no int.

    What constants and ``@Name()`` stand for exists only later; they fit everything. ``@Name``
    without parentheses is a function or class, which fits what can be called.
    """
    if isinstance(value, Macro) or annotation in (Any, object, inspect.Parameter.empty):
        return True
    if isinstance(value, Reference) and value.evaluate:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    cls = origin or annotation
    if not isinstance(cls, type):
        return True
    if isinstance(value, Reference):
        callable_protocol = _is_protocol(cls) and "__call__" in vars(cls)
        return cls in (collections.abc.Callable, type) or callable_protocol
    return _fits_class(value, cls) and _items_fit(value, cls, arguments)


def expected(value: Any, annotation: Any) -> str:  # noqa: ANN401
    """Say what an annotation asks for instead of a value: "must be int, not '52' (str)."."""
    choices = [choice for choice in _choices(annotation) if isinstance(choice, str)]
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    kind = type(value).__name__
    if isinstance(value, Reference):
        kind = "without parentheses"
    return f"must be {_describe(annotation)}, not {value!r} ({kind}).{hint}"


def _fits_class(value: Any, cls: type) -> bool:  # noqa: ANN401
    if cls in (int, float):
        return isinstance(value, int | cls) and not isinstance(value, bool)
    if cls is collections.abc.Callable or _is_protocol(cls):
        # A literal is neither a function nor a module.
        return False
    if cls in (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection):
        return isinstance(value, list | tuple)
    return isinstance(value, cls)


def _items_fit(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:  # noqa: ANN401
    if not arguments:
        return True
    if origin is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, dict):
        key_type, item_type = arguments
        return all(fits(k, key_type) and fits(item, item_type) for k, item in value.items())
    return all(fits(item, arguments[0]) for item in value)


def _choices(annotation: Any) -> list[Any]:  # noqa: ANN401
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [c for choice in typing.get_args(annotation) for c in _choices(choice)]
    return []


def _describe(annotation: Any) -> str:  # noqa: ANN401
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, arguments))
    if annotation is types.NoneType:
        return "None"
    if origin is collections.abc.Callable:
        return "a function given as @reference"
    if isinstance(annotation, type) and origin is None:
        builtin = annotation.__module__ == "builtins"
        return annotation.__name__ if builtin else f"a {annotation.__name__} given as @reference()"
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _is_protocol(cls: type) -> bool:
    return getattr(cls, "_is_protocol", False)
