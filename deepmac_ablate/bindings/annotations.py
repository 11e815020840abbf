"""Type checks of bound values against the annotations of their parameters.

gin ignores annotations: ``depth = '52'`` reaches the module, which may or may not fail.
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


def parameter_annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:  # noqa: ANN401
    """Return the annotation of one parameter as an object.

    Annotations are resolved one at a time, so that one that names a type imported only for type
    checkers does not prevent the others from being resolved.

    Raises:
        NameError: If the annotation is a string that does not resolve.
    """
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    return typing.get_type_hints(holder, globalns=function.__globals__)[parameter.name]


def value_fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401
    """Return whether a value has an annotated type; an int passes as a float, a bool not as an int.

    The values of constants and of ``@Name()`` do not exist yet, so they fit every annotation.
    ``@Name`` without parentheses is a function or class, so it fits callable types.
    """
    if isinstance(value, Macro) or annotation in (Any, object, inspect.Parameter.empty):
        return True
    if isinstance(value, Reference) and value.evaluate:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(value_fits(value, choice) for choice in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    cls = origin or annotation
    if not isinstance(cls, type):
        return True
    if isinstance(value, Reference):
        callable_protocol = _is_protocol(cls) and "__call__" in vars(cls)
        return cls in (collections.abc.Callable, type) or callable_protocol
    return _fits_class(value, cls) and _items_fit(value, cls, arguments)


def describe_mismatch(value: Any, annotation: Any) -> str:  # noqa: ANN401
    """Describe how a value violates an annotation: "must be int, not '52' (str)."."""
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
        # A literal is neither a function nor a module object.
        return False
    if cls in (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection):
        return isinstance(value, list | tuple)
    return isinstance(value, cls)


def _items_fit(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:  # noqa: ANN401
    if not arguments:
        return True
    if origin is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(value_fits, value, arguments))
    if isinstance(value, dict):
        key_type, item_type = arguments
        return all(
            value_fits(key, key_type) and value_fits(item, item_type)
            for key, item in value.items())
    return all(value_fits(item, arguments[0]) for item in value)


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
