"""Reads gin files and bindings without a registry: what is bound to what, and in which line.

gin-config 0.5.0 forgets where a binding came from, and reads a file only once everything in it has
been imported, TensorFlow included. This walks gin's own parser over the same text, so that each
message can name file and line, and a plan resolves a trial in less than a millisecond.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gin import config_parser

from deepmac_ablate.bindings import gin_files as files
from deepmac_ablate.bindings import statements
from deepmac_ablate.bindings.values import Macro, Reference, canonical, parts
from deepmac_ablate.errors import UserError


@dataclasses.dataclass(frozen=True)
class Binding:
    """One ``scope/selector.parameter = value``, or one ``MACRO = value``.

    Its properties are computed once, as thousands of arms share most bindings.

    Attributes:
        scope: Scopes joined by slashes, or an empty string.
        selector: The configurable as written; empty for a macro.
        parameter: The parameter's name, or the macro's name with its scope.
        value: Python literals, `Reference` and `Macro`, nested as written; nobody changes it.
        where: ``file:line``, or "binding" where it was not read from a file.
        in_file: Whether it was read from a file.
    """

    scope: str
    selector: str
    parameter: str
    value: Any
    where: str
    in_file: bool

    @property
    def is_macro(self) -> bool:
        """Whether this defines a macro instead of binding a parameter."""
        return not self.selector

    @functools.cached_property
    def name(self) -> str:
        """The left-hand side."""
        scope = f"{self.scope}/" if self.scope else ""
        return self.parameter if self.is_macro else f"{scope}{self.selector}.{self.parameter}"

    @property
    def place(self) -> str:
        """Where it was written and what, the beginning of every message about it."""
        return f"{self.where} '{textwrap.shorten(str(self), 100, placeholder='...')}'"

    @functools.cached_property
    def short_selector(self) -> str:
        """The selector without its modules."""
        return self.selector.rpartition(".")[2]

    @functools.cached_property
    def has_macros(self) -> bool:
        """Whether there is a macro in its value."""
        return any(isinstance(part, Macro) for part in parts(self.value))

    @functools.cached_property
    def references(self) -> tuple[Reference, ...]:
        """The references in its value, in order."""
        return tuple(part for part in parts(self.value) if isinstance(part, Reference))

    @functools.cached_property
    def canonical_value(self) -> str:
        """The value as `values.canonical` writes it."""
        return canonical(self.value)

    def applies_in(self, scope: str) -> bool:
        """Whether gin uses it for a call in a scope: its own, or one nested in its own."""
        return not self.scope or f"{scope}/".startswith(f"{self.scope}/")

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}"


class Import(NamedTuple):
    """An ``import`` statement of a gin file."""

    statement: str
    where: str

    @property
    def module(self) -> str:
        """The complete name of the module that it imports."""
        node = ast.parse(self.statement).body[0]
        name = node.names[0].name
        return f"{node.module}.{name}" if isinstance(node, ast.ImportFrom) else name


class GinFile(NamedTuple):
    """A gin file, the name by which it was asked for, and the file that includes it, if any."""

    name: str
    path: Path
    including: Path | None


class Text(NamedTuple):
    """All statements of some gin files and bindings, in the order gin would execute them."""

    bindings: tuple[Binding, ...]
    imports: tuple[Import, ...]


def read(gin_files: Sequence[str], bindings: Sequence[str]) -> Text:
    """Read files with all they include, then bindings.

    Args:
        gin_files: Names as `gin_files.find` takes them.
        bindings: Each ``selector.parameter = value`` or ``MACRO = value``.

    Raises:
        UserError: If a file is missing, includes itself, or is no gin.
    """
    given = [(name, True) for name in gin_files] + [(text, False) for text in bindings]
    all_bindings: list[Binding] = []
    all_imports: list[Import] = []
    for position, (source, is_file) in enumerate(given):
        found = _walked(source, is_file)
        if not (is_file or found.bindings or found.imports or found.stamps):
            raise UserError(f"The binding {source!r} binds nothing; write 'Name.parameter = 1'.")
        # What is given twice is two bindings, of which only the later one wins.
        again = (source, is_file) in given[:position]
        all_bindings += map(copy.copy, found.bindings) if again else found.bindings
        all_imports += found.imports
    return Text(tuple(all_bindings), tuple(all_imports))


def files_read(gin_files: Sequence[str], bindings: Sequence[str] = ()) -> list[GinFile]:
    """Return all files that gin files and bindings are made of, included ones too.

    Raises:
        UserError: As `read`.
    """
    walks = [_walked(name, is_file=True) for name in gin_files]
    walks += [_walked(text, is_file=False) for text in bindings]
    return list(dict.fromkeys(file for walk in walks for file in walk.files))


def modules(gin_files: Sequence[str], bindings: Sequence[str] = ()) -> list[str]:
    """Return the complete names of the modules that gin files and bindings import, sorted.

    Raises:
        UserError: As `read`.
    """
    return sorted({found.module for found in read(gin_files, bindings).imports})


def merge(bindings: Iterable[Binding]) -> dict[str, Binding]:
    """Return the bindings that win, by name; a later one replaces an earlier one.

    Raises:
        UserError: If a file that is included again takes back what was bound in between, or if
            two bindings name one parameter in two ways, so that nobody could tell which wins.
    """
    merged: dict[str, Binding] = {}
    read_before: dict[str, set[str]] = {}
    for binding in bindings:
        name = binding.name
        if (last := merged.get(name)) is not None:
            places = read_before.setdefault(name, {last.where})
            if binding.where in places and binding.in_file and last.value != binding.value:
                raise UserError(
                    f"{binding.place} takes back {last.place} because its file is read twice; "
                    "include it once, before the others."
                )
            places.add(binding.where)
        merged[name] = binding
    _check_one_spelling(merged.values())
    return merged


def same_configurable(one: str, other: str) -> bool:
    """Whether two selectors name one configurable: ``Head`` and ``mask_heads.Head`` do."""
    return one == other or f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def _check_one_spelling(bindings: Iterable[Binding]) -> None:
    by_last_name: dict[tuple[str, str, str], list[Binding]] = {}
    for binding in bindings:
        key = (binding.scope, binding.short_selector, binding.parameter)
        for other in by_last_name.setdefault(key, []):
            if same_configurable(binding.selector, other.selector):
                raise UserError(
                    f"{binding.place} and {other.place} name one parameter in two ways; use one."
                )
        by_last_name[key].append(binding)


class _Walk:
    """Follows the statements of a file or text through all that it includes.

    Attributes:
        bindings: In the order gin would execute them.
        imports: The same.
        files: That were read.
        stamps: The files that were read, and those that an include would have found instead, had
            they been there; with their stamps, None where there is none.
    """

    def __init__(self) -> None:
        self.bindings: list[Binding] = []
        self.imports: list[Import] = []
        self.files: list[GinFile] = []
        self.stamps: dict[str, statements.Stamp | None] = {}
        self._open: list[Path] = []

    def is_current(self) -> bool:
        """Whether the files would be read as they were."""
        return all(statements.stamp(path) == then for path, then in self.stamps.items())

    def find_and_read(self, name: str, including: Path | None = None, where: str = "") -> None:
        """Read the file that a name stands for, in an ``include`` or on its own."""
        path = files.find(name, including, where)
        if path in self._open:
            raise UserError(f"{where}: {files.shown(path)!r} includes itself.")
        for candidate in files.candidates(name, including):
            self.stamps[str(candidate)] = found = statements.stamp(candidate)
            if found is not None:
                break
        self.files.append(GinFile(name, path, including))
        self._open.append(path)
        for statement in statements.of_file(path):
            self.take(statement, path)
        self._open.pop()

    def take(self, statement: statements.Statement, path: Path | None) -> None:
        """Record one statement of a file, or of a text that is in no file."""
        where = f"{files.shown(path)}:{statement.location.line_num}" if path else "binding"
        if isinstance(statement, config_parser.BindingStatement):
            scope, selector, parameter, value, _ = statement
            if not parameter:
                macro_name = f"{scope}/{selector}" if scope else selector
                scope, selector, parameter = "", "", macro_name
            in_file = path is not None
            self.bindings.append(Binding(scope, selector, parameter, value, where, in_file))
        elif isinstance(statement, config_parser.IncludeStatement):
            self.find_and_read(statement.filename, path, where)
        elif isinstance(statement, config_parser.ImportStatement):
            self.imports.append(Import(statement.format(), where))


_walks: dict[tuple[str, bool, str, Path], _Walk] = {}


def _walked(source: str, is_file: bool) -> _Walk:
    """Return the walk through a file by its name, or through a text; an earlier one if current."""
    # Names are found from the working directory, and places are shown from it.
    key = (source, is_file, os.getcwd(), files.ROOT)  # noqa: PTH109
    walk = _walks.get(key)
    if walk is None or not walk.is_current():
        walk = _Walk()
        if is_file:
            walk.find_and_read(source)
        else:
            for statement in statements.of_text(source):
                walk.take(statement, None)
        _walks[key] = walk
    return walk
