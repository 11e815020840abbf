"""What the docstrings of configurables say of their parameters."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import gin

from deepmac_ablate.bindings import registry

_SECTION = re.compile(r"(Args|Attributes):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)(?: \([^)]*\))?: (.*)", re.DOTALL)


def summary(configurable: gin.config.Configurable) -> str:
    """Returns the first sentence of a class's or function's own docstring, or nothing."""
    doc = inspect.cleandoc(configurable.wrapped.__doc__ or "")
    return " ".join(doc.partition("\n\n")[0].split())


def of_parameters(configurable: gin.config.Configurable) -> dict[str, str]:
    """Returns what is said of each parameter, as one line.

    Looked for in "Args" of the constructor or function, and in "Args" and "Attributes" of the class
    and those that it derives from, in this order.
    """
    said: dict[str, str] = {}
    for doc in _docstrings(configurable):
        for name, text in _entries(inspect.cleandoc(doc)):
            said.setdefault(name, text)
    return said


def _docstrings(configurable: gin.config.Configurable) -> Iterator[str]:
    wrapped = configurable.wrapped
    yield registry.function(configurable).__doc__ or ""
    for cls in wrapped.__mro__ if inspect.isclass(wrapped) else ():
        yield cls.__doc__ or ""
        # A derived class may pass on what a constructor above explains.
        yield vars(cls)["__init__"].__doc__ or "" if "__init__" in vars(cls) else ""


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    """Yields the names in a docstring's sections "Args" and "Attributes", and what is said."""
    lines = iter(doc.splitlines())
    for line in lines:
        if not _SECTION.match(line):
            continue
        section = []
        for below in lines:
            if below.strip() and not below.startswith(" "):
                break
            section.append(below)
        # An entry goes on in lines that are indented further.
        for entry in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(section)).strip()):
            if found := _ENTRY.match(entry):
                yield found[1], " ".join(found[2].split())
