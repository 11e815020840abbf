"""Reader of gin files and bindings that needs no registry and keeps file and line of each binding.

gin-config 0.5.0 does not record where a binding came from, and cannot read a file before everything
in it has been imported, TensorFlow included. This module runs gin's own parser over the same text,
so that messages can name file and line, and a plan resolves a trial in less than a millisecond.
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
from deepmac_ablate.bindings.values import (
    Macro,
    Reference,
    canonical_text,
    leaf_values,
    nesting_depth,
)
from deepmac_ablate.errors import UserError

# No configuration comes near these; Python fails at a few hundred.
_MOST_INCLUDES = 50
_DEEPEST = 50


@dataclasses.dataclass(frozen=True)
class Binding:
    """One ``scope/selector.parameter = value``, or one ``MACRO = value``.

    Properties are computed once, because the arms of a sweep share most bindings.

    Attributes:
        scope: Scopes joined by slashes, or an empty string.
        selector: The configurable as written; empty for a macro.
        parameter: The parameter's name, or the macro's name with its scope.
        value: Python literals, `Reference` and `Macro`, nested as written; never modified.
        where: ``file:line``, or "binding" if it was not read from a file.
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
        """True if this defines a macro instead of binding a parameter."""
        return not self.selector

    @functools.cached_property
    def name(self) -> str:
        """The left-hand side."""
        scope = f"{self.scope}/" if self.scope else ""
        return self.parameter if self.is_macro else f"{scope}{self.selector}.{self.parameter}"

    @property
    def place(self) -> str:
        """The place and the (shortened) text; every message about the binding starts with it."""
        return f"{self.where} '{textwrap.shorten(str(self), 100, placeholder='...')}'"

    @functools.cached_property
    def short_selector(self) -> str:
        """The selector without its modules."""
        return self.selector.rpartition(".")[2]

    @functools.cached_property
    def has_macros(self) -> bool:
        """True if the value contains a macro."""
        return any(isinstance(part, Macro) for part in leaf_values(self.value))

    @functools.cached_property
    def references(self) -> tuple[Reference, ...]:
        """The references in the value, in order."""
        return tuple(part for part in leaf_values(self.value) if isinstance(part, Reference))

    @functools.cached_property
    def canonical_value(self) -> str:
        """The value as `values.canonical_text` writes it."""
        return canonical_text(self.value)

    def applies_in(self, scope: str) -> bool:
        """Return whether gin uses the binding for a call in a scope: its own or a nested one."""
        return not self.scope or f"{scope}/".startswith(f"{self.scope}/")

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}"


class Import(NamedTuple):
    """An ``import`` statement of a gin file."""

    statement: str
    where: str

    @property
    def module(self) -> str:
        """The complete name of the imported module."""
        node = ast.parse(self.statement).body[0]
        name = node.names[0].name
        return f"{node.module}.{name}" if isinstance(node, ast.ImportFrom) else name


class GinFile(NamedTuple):
    """A gin file: the name it was requested by, its path, and the file that includes it, if any."""

    name: str
    path: Path
    including: Path | None


class Text(NamedTuple):
    """All statements of some gin files and bindings, in the order gin would execute them."""

    bindings: tuple[Binding, ...]
    imports: tuple[Import, ...]


def read(gin_files: Sequence[str], bindings: Sequence[str]) -> Text:
    """Read files with everything they include, then bindings.

    Args:
        gin_files: Names of files; see `gin_files.find_gin_file`.
        bindings: Texts such as ``selector.parameter = value`` or ``MACRO = value``.

    Raises:
        UserError: If a file is missing, includes itself, or is not valid gin.
    """
    given = [(name, True) for name in gin_files] + [(text, False) for text in bindings]
    all_bindings: list[Binding] = []
    all_imports: list[Import] = []
    for position, (source, is_file) in enumerate(given):
        found = _walked(source, is_file)
        if not (is_file or found.bindings or found.imports or found.stamps):
            raise UserError(f"The binding {source!r} binds nothing; write 'Name.parameter = 1'.")
        # A source that is given twice yields two bindings, of which only the later one wins.
        again = (source, is_file) in given[:position]
        all_bindings += map(copy.copy, found.bindings) if again else found.bindings
        all_imports += found.imports
    return Text(tuple(all_bindings), tuple(all_imports))


def all_gin_files(gin_files: Sequence[str], bindings: Sequence[str] = ()) -> list[GinFile]:
    """Return all files that gin files and bindings consist of, with those that they include.

    Raises:
        UserError: See `read`.
    """
    walks = [_walked(name, is_file=True) for name in gin_files]
    walks += [_walked(text, is_file=False) for text in bindings]
    return list(dict.fromkeys(file for walk in walks for file in walk.files))


def imported_modules(gin_files: Sequence[str], bindings: Sequence[str] = ()) -> list[str]:
    """Return the complete names of the modules that gin files and bindings import, sorted.

    Raises:
        UserError: See `read`.
    """
    return sorted({found.module for found in read(gin_files, bindings).imports})


def merge(bindings: Iterable[Binding]) -> dict[str, Binding]:
    """Return the bindings that win, by name; a later one replaces an earlier one.

    Raises:
        UserError: If a file that is included again overrides a binding made in between, or if two
            bindings spell one parameter differently, so that it is unclear which one wins.
    """
    merged: dict[str, Binding] = {}
    read_before: dict[str, set[str]] = {}
    for binding in bindings:
        name = binding.name
        if (last := merged.get(name)) is not None:
            places = read_before.setdefault(name, {last.where})
            if binding.where in places and binding.in_file and last.value != binding.value:
                raise UserError(
                    f"{binding.place} overrides {last.place} because its file is read twice; "
                    "include it once, before the others."
                )
            places.add(binding.where)
        merged[name] = binding
    _check_one_spelling(merged.values())
    return merged


def same_configurable(one: str, other: str) -> bool:
    """Return whether two selectors name one configurable: ``Head`` and ``mask_heads.Head`` do."""
    return one == other or f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def _check_one_spelling(bindings: Iterable[Binding]) -> None:
    by_last_name: dict[tuple[str, str, str], list[Binding]] = {}
    for binding in bindings:
        key = (binding.scope, binding.short_selector, binding.parameter)
        for other in by_last_name.setdefault(key, []):
            if same_configurable(binding.selector, other.selector):
                raise UserError(
                    f"{binding.place} and {other.place} spell the same parameter differently; "
                    "use one spelling."
                )
        by_last_name[key].append(binding)


class _Walk:
    """Walk through the statements of a file or text and of everything that it includes.

    Attributes:
        bindings: Bindings in the order in which gin would execute them.
        imports: Imports in the same order.
        files: Files that were read.
        stamps: Stamps of the files that were read, and None for paths that would have been read
            instead, had there been a file.
    """

    def __init__(self) -> None:
        self.bindings: list[Binding] = []
        self.imports: list[Import] = []
        self.files: list[GinFile] = []
        self.stamps: dict[str, statements.Stamp | None] = {}
        self._open: list[Path] = []

    def is_current(self) -> bool:
        """Return whether reading the files again would give the same result."""
        return all(statements.file_stamp(path) == then for path, then in self.stamps.items())

    def find_and_read(self, name: str, including: Path | None = None, where: str = "") -> None:
        """Read a file by its name, as given by the caller or by an ``include``."""
        path = files.find_gin_file(name, including, where)
        if path in self._open:
            raise UserError(f"{where}: {files.display_name(path)!r} includes itself.")
        for candidate in files.candidate_paths(name, including):
            self.stamps[str(candidate)] = found = statements.file_stamp(candidate)
            if found is not None:
                break
        self.files.append(GinFile(name, path, including))
        if len(self._open) == _MOST_INCLUDES:
            raise UserError(
                f"{where}: more than {_MOST_INCLUDES} files include each other in a row.")
        self._open.append(path)
        for statement in statements.file_statements(path):
            self.take(statement, path)
        self._open.pop()

    def take(self, statement: statements.Statement, path: Path | None) -> None:
        """Record one statement of a file, or of a text that is not in a file."""
        where = f"{files.display_name(path)}:{statement.location.line_num}" if path else "binding"
        if isinstance(statement, config_parser.BindingStatement):
            scope, selector, parameter, value, _ = statement
            if not parameter:
                macro_name = f"{scope}/{selector}" if scope else selector
                scope, selector, parameter = "", "", macro_name
            if nesting_depth(value) > _DEEPEST:
                raise UserError(
                    f"{where}: the value of {parameter} is nested more than {_DEEPEST} deep.")
            in_file = path is not None
            self.bindings.append(Binding(scope, selector, parameter, value, where, in_file))
        elif isinstance(statement, config_parser.IncludeStatement):
            self.find_and_read(statement.filename, path, where)
        elif isinstance(statement, config_parser.ImportStatement):
            self.imports.append(Import(statement.format(), where))


_walks: dict[tuple[str, bool, str, Path], _Walk] = {}


def _walked(source: str, is_file: bool) -> _Walk:
    """Return the walk through a file or text; an earlier one if no file has changed."""
    # File names and the places in messages are relative to the working directory.
    key = (source, is_file, files.code_folder(), os.getcwd(), files.ROOT)  # noqa: PTH109
    walk = _walks.get(key)
    if walk is None or not walk.is_current():
        walk = _Walk()
        if is_file:
            walk.find_and_read(source)
        else:
            for statement in statements.text_statements(source):
                walk.take(statement, None)
        _walks[key] = walk
    return walk
