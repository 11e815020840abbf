"""Every parameter that can be bound, and what some gin files bind of it."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gin

from deepmac_ablate.bindings import registry
from deepmac_ablate.bindings.identity import sources
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import canonical, expand
from deepmac_ablate.errors import UserError, did_you_mean

# Language models and such, registered by Model Garden as soon as its layers are imported.
_NO_PART_OF_A_TRIAL = "official."


@dataclasses.dataclass(frozen=True)
class Bound:
    """One binding of a parameter.

    Attributes:
        name: The left-hand side, with its scope.
        value: With macros expanded, as gin text.
        written: As it was written.
        where: Where the binding stands, and the macros that its value is made of.
    """

    name: str
    value: str
    written: str
    where: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listed:
    """One parameter that can be bound.

    Attributes:
        selector: Of its configurable; with modules only where another has the same name.
        summary: What the configurable is, in one sentence, or an empty string.
        parameter: The name.
        type: Its annotation, as in the code.
        default: As in the code; None where it must be bound or passed.
        doc: What its docstring says, on one line, or an empty string.
        bound: The bindings that win, one for each scope.
    """

    selector: str
    summary: str
    parameter: str
    type: str
    default: str | None
    doc: str
    bound: tuple[Bound, ...]

    @property
    def name(self) -> str:
        """As it is bound: ``selector.parameter``."""
        return f"{self.selector}.{self.parameter}"


def everything(bindings: Iterable[Binding] = ()) -> list[Listed]:
    """Return all parameters of all registered configurables, sorted by selector.

    Those that come with Model Garden are left out.

    Args:
        bindings: What `text.read` returned; they are not checked.

    Raises:
        UserError: As `text.merge` and `values.expand`, or if one names no configurable.
    """
    merged = merge(bindings)
    macros = {it.parameter: it.value for it in merged.values() if it.is_macro}
    bound = collections.defaultdict(list)
    for binding in merged.values():
        if not binding.is_macro:
            key = (registry.find(binding.selector).selector, binding.parameter)
            bound[key].append(Bound(
                binding.name, canonical(expand(binding.value, macros)), binding.canonical_value,
                tuple(source.where for source in sources(binding, merged))))
    configurables = [
        known for known in registry.configurables()
        if not known.module.startswith(_NO_PART_OF_A_TRIAL)]
    names = collections.Counter(known.name for known in configurables)
    rows = []
    for known in configurables:
        selector = known.name if names[known.name] == 1 else known.selector
        said, about = of_parameters(known), summary(known)
        for parameter in registry.parameters(known).values():
            rows.append(Listed(
                selector, about, parameter.name, _type(parameter), _default(parameter),
                said.get(parameter.name, ""), tuple(bound[known.selector, parameter.name])))
    return sorted(rows, key=lambda row: row.selector)


def matching(rows: Sequence[Listed], wanted: str) -> list[Listed]:
    """Return the rows whose name contains a text, or match it where it has wildcards.

    Args:
        rows: To choose from.
        wanted: Such as "mask_head", "HourglassMaskHead.*"; case is ignored.

    Raises:
        UserError: If there is none; it names the nearest.
    """
    pattern = wanted.lower() if set("*?[") & set(wanted) else f"*{_literal(wanted.lower())}*"
    found = [row for row in rows if fnmatch.fnmatchcase(row.name.lower(), pattern)]
    if not found:
        known = {word for row in rows for word in (row.name, row.selector, row.parameter)}
        raise UserError(
            f"No parameter matches {wanted!r}.{did_you_mean(wanted, sorted(known))}")
    return found


def _literal(text: str) -> str:
    return text.replace("[", "[[]")


def _type(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return "Any"
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(parameter: inspect.Parameter) -> str | None:
    default: Any = parameter.default
    if default in (inspect.Parameter.empty, gin.REQUIRED):
        return None
    return getattr(default, "__qualname__", None) or repr(default)


_SECTION = re.compile(r"(Args|Attributes):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)(?: \([^)]*\))?: (.*)", re.DOTALL)


def summary(configurable: gin.config.Configurable) -> str:
    """Return the first sentence of a class's or function's own docstring, or nothing."""
    doc = inspect.cleandoc(configurable.wrapped.__doc__ or "")
    return " ".join(doc.partition("\n\n")[0].split())


def of_parameters(configurable: gin.config.Configurable) -> dict[str, str]:
    """Return what is said of each parameter, as one line.

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
    """Yield the names in a docstring's sections "Args" and "Attributes", and what is said."""
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
