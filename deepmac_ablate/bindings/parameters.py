"""Listing of all configurable parameters: types, defaults, documentation and current bindings."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fnmatch
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gin

from deepmac_ablate.bindings import annotations, registry
from deepmac_ablate.bindings.identity import binding_sources
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import canonical_text, expand_macros
from deepmac_ablate.errors import UserError, did_you_mean

# Model Garden registers language models and other unrelated code when its layers are imported.
_UNRELATED_MODULES = "official."


@dataclasses.dataclass(frozen=True)
class BoundValue:
    """One binding of a parameter.

    Attributes:
        name: The left-hand side, with its scope.
        value: The value as gin text, with macros expanded.
        written: The value as it was written.
        where: The place of the binding, as file and line, then those of the macros in its value.
    """

    name: str
    value: str
    written: str
    where: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ListedParameter:
    """One parameter that can be bound.

    Attributes:
        selector: The configurable; with its module only where another has the same name.
        summary: The first sentence of the configurable's docstring, or an empty string.
        parameter: The name of the parameter.
        type: The annotation: as in the code, or with its range, such as "int from 1 to 512".
        default: The default, as in the code; None where a value must be bound or passed.
        doc: The description in the docstring, on one line, or an empty string.
        bound: The bindings that win, one for each scope.
    """

    selector: str
    summary: str
    parameter: str
    type: str
    default: str | None
    doc: str
    bound: tuple[BoundValue, ...]

    @property
    def name(self) -> str:
        """The left-hand side of a binding: ``selector.parameter``."""
        return f"{self.selector}.{self.parameter}"


def list_parameters(bindings: Iterable[Binding] = ()) -> list[ListedParameter]:
    """Return all parameters of all registered configurables, sorted by selector.

    The configurables of Model Garden are left out.

    Args:
        bindings: The result of `text.read`; values are not checked.

    Raises:
        UserError: See `text.merge` and `values.expand_macros`; or if a binding names an unknown
            configurable.
    """
    merged = merge(bindings)
    macros = {
        binding.parameter: binding.value for binding in merged.values() if binding.is_macro}
    bound = collections.defaultdict(list)
    for binding in merged.values():
        if not binding.is_macro:
            key = (registry.find_configurable(binding.selector).selector, binding.parameter)
            value = canonical_text(expand_macros(binding.value, macros))
            bound[key].append(BoundValue(
                binding.name, value, binding.canonical_value,
                tuple(source.where for source in binding_sources(binding, merged))))
    configurables = [
        known for known in registry.configurables()
        if not known.module.startswith(_UNRELATED_MODULES)]
    names = collections.Counter(known.name for known in configurables)
    rows = []
    for known in configurables:
        selector = known.name if names[known.name] == 1 else known.selector
        docs, summary = parameter_docs(known), docstring_summary(known)
        for parameter in registry.bindable_parameters(known).values():
            rows.append(ListedParameter(
                selector, summary, parameter.name, _type(known, parameter), _default(parameter),
                docs.get(parameter.name, ""), tuple(bound[known.selector, parameter.name])))
    return sorted(rows, key=lambda row: row.selector)


def filter_parameters(
    rows: Sequence[ListedParameter], wanted: str, with_files: bool = True
) -> list[ListedParameter]:
    """Return the parameters whose name contains a text, or matches a pattern with wildcards.

    Args:
        rows: The parameters to choose from.
        wanted: A part of a name or a pattern, such as "mask_head" or "HourglassMaskHead.*"; case is
            ignored.
        with_files: Whether gin files were given; only those import classes of the user.

    Raises:
        UserError: If no parameter matches; the message suggests a similar name.
    """
    pattern = wanted.lower() if set("*?[") & set(wanted) else f"*{wanted.lower()}*"
    found = [row for row in rows if fnmatch.fnmatchcase(row.name.lower(), pattern)]
    if not found:
        known = {word for row in rows for word in (row.name, row.selector, row.parameter)}
        raise UserError(
            f"No parameter matches {wanted!r}.{did_you_mean(wanted, sorted(known))}"
            + ("" if with_files else " A class of your own is listed with --gin-file FILE, a gin "
               "file that imports it."))
    return found


def _type(configurable: gin.config.Configurable, parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return "Any"
    with contextlib.suppress(NameError):
        resolved = registry.parameter_annotation(configurable, parameter)
        if annotations.has_range(resolved):
            return annotations.describe(resolved)
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(parameter: inspect.Parameter) -> str | None:
    default: Any = parameter.default
    if default in (inspect.Parameter.empty, gin.REQUIRED):
        return None
    return getattr(default, "__qualname__", None) or repr(default)


_SECTION = re.compile(r"(Args|Attributes):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)(?: \([^)]*\))?: (.*)", re.DOTALL)


def docstring_summary(configurable: gin.config.Configurable) -> str:
    """Return the first paragraph of a class's or function's own docstring, or an empty string."""
    doc = inspect.cleandoc(configurable.wrapped.__doc__ or "")
    return " ".join(doc.partition("\n\n")[0].split())


def parameter_docs(configurable: gin.config.Configurable) -> dict[str, str]:
    """Return the description of each documented parameter, as one line, by name.

    Descriptions are taken from "Args" of the constructor or function, then from "Args" and
    "Attributes" of the class and its base classes, in this order.
    """
    docs: dict[str, str] = {}
    for doc in _docstrings(configurable):
        for name, text in _entries(inspect.cleandoc(doc)):
            docs.setdefault(name, text)
    return docs


def _docstrings(configurable: gin.config.Configurable) -> Iterator[str]:
    wrapped = configurable.wrapped
    yield registry.bindable_function(configurable).__doc__ or ""
    for cls in wrapped.__mro__ if inspect.isclass(wrapped) else ():
        yield cls.__doc__ or ""
        # A derived class may pass parameters on to the constructor of a base class.
        yield vars(cls)["__init__"].__doc__ or "" if "__init__" in vars(cls) else ""


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    """Yield the names and descriptions in the sections "Args" and "Attributes" of a docstring."""
    lines = iter(doc.splitlines())
    for line in lines:
        if not _SECTION.match(line):
            continue
        section = []
        for below in lines:
            if below.strip() and not below.startswith(" "):
                break
            section.append(below)
        # Continuation lines of an entry are indented further.
        for entry in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(section)).strip()):
            if found := _ENTRY.match(entry):
                yield found[1], " ".join(found[2].split())
