"""The right-hand side of a binding: literals, references and macros, as written.

gin's own reference objects need a registered configurable behind them, and compare equal when only
their scopes differ. These stand for the text alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from deepmac_ablate.errors import UserError


@dataclasses.dataclass(frozen=True, repr=False)
class Reference:
    """``@scope/Selector``, or ``@scope/Selector()`` for what calling it returns."""

    scoped_selector: str
    evaluate: bool

    @property
    def scope(self) -> str:
        """What stands before the last slash, or an empty string."""
        return self.scoped_selector.rpartition("/")[0]

    @property
    def selector(self) -> str:
        """The configurable's name as written, without its scope."""
        return self.scoped_selector.rpartition("/")[2]

    def __repr__(self) -> str:
        return f"@{self.scoped_selector}{'()' if self.evaluate else ''}"


@dataclasses.dataclass(frozen=True, repr=False)
class Macro:
    """``%NAME``: the value of a macro, or a constant that Python code registered."""

    name: str

    @property
    def is_required(self) -> bool:
        """Whether this is ``%gin.REQUIRED``, which stands for a value still to be given."""
        return self.name in ("gin.REQUIRED", "REQUIRED")

    def __repr__(self) -> str:
        return f"%{self.name}"


def parts(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield everything inside a value that is not a container, the value itself included."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from parts(key)
            yield from parts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
    else:
        yield value


def expand(value: Any, macros: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Replace every macro by its value.

    Args:
        value: A literal, reference or macro, or a container of such.
        macros: The value of each macro by its name. Names that are not there (constants,
            ``%gin.REQUIRED``) stay as they are.

    Raises:
        UserError: If a macro refers to itself.
    """
    if isinstance(value, Macro):
        if value.name not in macros:
            return value
        others = {name: bound for name, bound in macros.items() if name != value.name}
        expanded = expand(macros[value.name], others)
        if value in parts(expanded):
            raise UserError(f"The macro %{value.name} refers to itself.")
        return expanded
    if isinstance(value, Mapping):
        return {expand(key, macros): expand(item, macros) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(expand(item, macros) for item in value)
    return value


def canonical(value: Any) -> str:  # noqa: ANN401
    """Write a value as text that is equal exactly where the values are, types included."""
    if isinstance(value, Mapping):
        items = sorted((canonical(key), canonical(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(canonical, value)) + (",)" if len(value) == 1 else ")")
    return repr(value)
