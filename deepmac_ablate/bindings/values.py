"""Right-hand sides of bindings: literals, references and macros, as written.

Gin's own reference objects need a registered configurable, and compare equal when only their scopes
differ. The classes here represent the text alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from deepmac_ablate.errors import UserError


@dataclasses.dataclass(frozen=True, repr=False)
class Reference:
    """``@scope/Selector``, or ``@scope/Selector()`` for the result of calling it."""

    scoped_selector: str
    evaluate: bool

    @property
    def scope(self) -> str:
        """The part before the last slash, or an empty string."""
        return self.scoped_selector.rpartition("/")[0]

    @property
    def selector(self) -> str:
        """The configurable's name as written, without its scope."""
        return self.scoped_selector.rpartition("/")[2]

    def __repr__(self) -> str:
        return f"@{self.scoped_selector}{'()' if self.evaluate else ''}"


@dataclasses.dataclass(frozen=True, repr=False)
class Macro:
    """``%NAME``: a macro, or a constant that Python code registered."""

    name: str

    @property
    def is_required(self) -> bool:
        """True for ``%gin.REQUIRED``, a placeholder for a value that must be bound later."""
        return self.name in ("gin.REQUIRED", "REQUIRED")

    def __repr__(self) -> str:
        return f"%{self.name}"


def leaf_values(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield everything in a value that is not a container; a plain value yields itself."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaf_values(key)
            yield from leaf_values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaf_values(item)
    else:
        yield value


def nesting_depth(value: Any) -> int:  # noqa: ANN401
    """Return the number of containers around the most deeply nested part of a value."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return 1 + max(map(nesting_depth, value), default=0)
    return 0


def expand_macros(value: Any, macros: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Replace every macro by its value.

    Args:
        value: A literal, reference or macro, or a container of these.
        macros: The value of each macro by its name. Unknown names (constants, ``%gin.REQUIRED``)
            are left unchanged.

    Raises:
        UserError: If a macro refers to itself.
    """
    if isinstance(value, Macro):
        if value.name not in macros:
            return value
        others = {name: bound for name, bound in macros.items() if name != value.name}
        try:
            expanded = expand_macros(macros[value.name], others)
        except RecursionError as error:
            raise UserError(f"The macro %{value.name} is nested too deeply.") from error
        if value in leaf_values(expanded):
            raise UserError(f"The macro %{value.name} refers to itself.")
        return expanded
    if isinstance(value, Mapping):
        return {
            expand_macros(key, macros): expand_macros(item, macros) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(expand_macros(item, macros) for item in value)
    return value


def canonical_text(value: Any) -> str:  # noqa: ANN401
    """Return a value as text; texts are equal if and only if the values and their types are."""
    if isinstance(value, Mapping):
        items = sorted((canonical_text(key), canonical_text(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical_text, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(canonical_text, value)) + (",)" if len(value) == 1 else ")")
    return repr(value)
