"""Checks of bound values against the annotations of their parameters: types and ranges.

gin ignores annotations: ``depth = '52'`` reaches the module, which may or may not fail.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Annotated, Any, Literal, Union

from deepmac_ablate.bindings import registry
from deepmac_ablate.bindings.ranges import Range
from deepmac_ablate.bindings.values import Macro, Reference
from deepmac_ablate.errors import did_you_mean, shorten


def value_fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401
    """Return whether a value has an annotated type, and numbers are in their annotated ranges.

    An int passes as a float, a bool not as an int. The values of constants do not exist yet, so
    they fit every annotation; of ``@Name()``, the type must fit. ``@Name`` without parentheses is a
    function or class, so it fits callable types.
    """
    if isinstance(value, Macro) or annotation in (Any, object, inspect.Parameter.empty):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        ranges = [part for part in arguments[1:] if isinstance(part, Range)]
        return value_fits(value, arguments[0]) and (
            isinstance(value, Reference) or all(value in limits for limits in ranges))
    if origin in (Union, types.UnionType):
        return any(value_fits(value, choice) for choice in arguments)
    if isinstance(value, Reference):
        return _reference_fits(value, annotation)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    cls = origin or annotation
    if not isinstance(cls, type):
        return True
    return _fits_class(value, cls) and _items_fit(value, cls, arguments)


def has_range(annotation: Any) -> bool:  # noqa: ANN401
    """Return whether an annotation contains a range."""
    return isinstance(annotation, Range) or any(
        has_range(part) for part in (*typing.get_args(annotation),
                                     *getattr(annotation, "__metadata__", ())))


def describe_mismatch(value: Any, annotation: Any) -> str:  # noqa: ANN401
    """Describe how a value violates an annotation: "must be int, not '52' (str)."."""
    choices = [choice for choice in _choices(annotation) if isinstance(choice, str)]
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    kind = type(value).__name__
    if isinstance(value, Reference):
        kind = "without parentheses"
        if value.evaluate or _is_callable_type(annotation):
            made = registry.returned_type(value.selector)
            kind = f"a {getattr(made, '__name__', made)}"
    return f"must be {describe(annotation)}, not {shorten(value)} ({kind}).{hint}"


def _reference_fits(value: Reference, annotation: Any) -> bool:  # noqa: ANN401
    if not value.evaluate:
        if not _is_callable_type(annotation):
            cls = typing.get_origin(annotation) or annotation
            return cls is not Literal and not isinstance(cls, type)
        # ``Callable[[], MaskRCNN]``: the call must return one.
        is_callable = typing.get_origin(annotation) is collections.abc.Callable
        annotation = typing.get_args(annotation)[-1] if is_callable else Any
    made, cls = (
        typing.get_origin(part) or part
        for part in (registry.returned_type(value.selector), annotation))
    if Any in (made, cls) or (cls is types.NoneType and not value.evaluate):
        return True
    if cls is Literal:
        return made in map(type, typing.get_args(annotation))
    if not isinstance(made, type) or not isinstance(cls, type) or _is_protocol(cls):
        return True
    return issubclass(made, cls) or (cls is float and made is int)


def _is_callable_type(annotation: Any) -> bool:  # noqa: ANN401
    cls = typing.get_origin(annotation) or annotation
    return cls in (collections.abc.Callable, type) or (
        isinstance(cls, type) and _is_protocol(cls) and "__call__" in vars(cls))


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


def describe(annotation: Any) -> str:  # noqa: ANN401
    """Describe an annotation, such as "int from 1 to 100 or None"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is Annotated:
        return " ".join([describe(arguments[0]), *map(str, arguments[1:])])
    if annotation is types.NoneType:
        return "None"
    if origin is collections.abc.Callable:
        return "a function given as @reference"
    if isinstance(annotation, type) and origin is None:
        builtin = annotation.__module__ == "builtins"
        return annotation.__name__ if builtin else f"a {annotation.__name__} given as @reference()"
    if has_range(annotation):
        return f"{origin.__name__}[{', '.join(map(describe, arguments))}]"
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _is_protocol(cls: type) -> bool:
    return getattr(cls, "_is_protocol", False)
