"""Reads gin files and bindings without a registry: what is bound to what, and in which line.

gin-config 0.5.0 forgets where a binding came from, and reads a file only once everything in it has
been imported, TensorFlow included. This walks gin's own parser over the same text, so that each
message can name file and line, and a plan resolves a trial in milliseconds.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gin import config_parser

from deepmac_ablate.bindings import gin_files as files
from deepmac_ablate.bindings.values import Macro, Reference
from deepmac_ablate.errors import UserError


@dataclasses.dataclass(frozen=True)
class Binding:
    """One ``scope/selector.parameter = value``, or one ``MACRO = value``.

    Attributes:
        scope: Scopes joined by slashes, or an empty string.
        selector: The configurable as written; empty for a macro.
        parameter: The parameter's name, or the macro's name with its scope.
        value: Python literals, `Reference` and `Macro`, nested as written.
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

    @property
    def name(self) -> str:
        """The left-hand side."""
        scope = f"{self.scope}/" if self.scope else ""
        return self.parameter if self.is_macro else f"{scope}{self.selector}.{self.parameter}"

    @property
    def place(self) -> str:
        """Where it was written and what, the beginning of every message about it."""
        return f"{self.where} '{textwrap.shorten(str(self), 100, placeholder='...')}'"

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


class Text(NamedTuple):
    """All statements of some gin files and bindings, in the order gin would execute them."""

    bindings: tuple[Binding, ...]
    imports: tuple[Import, ...]


def read(gin_files: Sequence[str], bindings: Sequence[str]) -> Text:
    """Reads files with all they include, then bindings.

    Args:
        gin_files: Names as `gin_files.find` takes them.
        bindings: Each ``selector.parameter = value`` or ``MACRO = value``.

    Raises:
        UserError: If a file is missing, includes itself, or is no gin.
    """
    reader = _Reader()
    for name in gin_files:
        reader.read_file(files.find(name))
    for binding in bindings:
        if not reader.read_text(binding):
            raise UserError(f"The binding {binding!r} binds nothing; write 'Name.parameter = 1'.")
    return Text(tuple(reader.bindings), tuple(reader.imports))


def merge(bindings: Iterable[Binding]) -> dict[str, Binding]:
    """Returns the bindings that win, by name; a later one replaces an earlier one.

    Raises:
        UserError: If a file that is included again takes back what was bound in between, or if
            two bindings name one parameter in two ways, so that nobody could tell which wins.
    """
    merged: dict[str, Binding] = {}
    read_before: dict[str, set[str]] = {}
    for binding in bindings:
        places = read_before.setdefault(binding.name, set())
        last = merged.get(binding.name)
        if last and binding.where in places and binding.in_file and last.value != binding.value:
            raise UserError(
                f"{binding.place} takes back {last.place} because its file is read twice; "
                "include it once, before the others."
            )
        places.add(binding.where)
        merged[binding.name] = binding
    _check_one_spelling(merged.values())
    return merged


def same_configurable(one: str, other: str) -> bool:
    """Whether two selectors name one configurable: ``Head`` and ``mask_heads.Head`` do."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def _check_one_spelling(bindings: Iterable[Binding]) -> None:
    by_last_name: dict[tuple[str, str, str], list[Binding]] = {}
    for binding in bindings:
        key = (binding.scope, binding.selector.rpartition(".")[2], binding.parameter)
        for other in by_last_name.setdefault(key, []):
            if same_configurable(binding.selector, other.selector):
                raise UserError(
                    f"{binding.place} and {other.place} name one parameter in two ways; use one."
                )
        by_last_name[key].append(binding)


class _Reader(config_parser.ParserDelegate):
    """Collects statements; to gin's parser it is the maker of references and macros."""

    def __init__(self) -> None:
        self.bindings: list[Binding] = []
        self.imports: list[Import] = []
        self._open: list[Path] = []

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)

    def read_file(self, path: Path, where: str = "") -> None:
        if path in self._open:
            raise UserError(f"{where}: {files.shown(path)!r} includes itself.")
        self._open.append(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Cannot read {files.shown(path)!r} as text: {error}.") from error
        self.read_text(text, path)
        self._open.pop()

    def read_text(self, text: str, path: Path | None = None) -> int:
        """Reads every statement of a text and returns how many there were."""
        count = 0
        try:
            parser = config_parser.ConfigParser(io.StringIO(text), self)
            # `parse_statement`, as the parser's iterator takes running out of tokens for the end.
            while statement := parser.parse_statement():
                self._take(statement, path)
                count += 1
        except (SyntaxError, tokenize.TokenError, StopIteration, TypeError) as error:
            raise UserError(_no_gin(error, text, path)) from error
        return count

    def _take(self, statement: Any, path: Path | None) -> None:  # noqa: ANN401
        where = f"{files.shown(path)}:{statement.location.line_num}" if path else "binding"
        if isinstance(statement, config_parser.BindingStatement):
            scope, selector, parameter, value, _ = statement
            if not parameter:
                macro_name = f"{scope}/{selector}" if scope else selector
                scope, selector, parameter = "", "", macro_name
            in_file = path is not None
            self.bindings.append(Binding(scope, selector, parameter, value, where, in_file))
        elif isinstance(statement, config_parser.IncludeStatement):
            self.read_file(files.find(statement.filename, path, where), where)
        elif isinstance(statement, config_parser.ImportStatement):
            self.imports.append(Import(statement.format(), where))


def _no_gin(error: Exception, text: str, path: Path | None) -> str:
    """Words what gin's parser or Python's tokenizer says in one sentence."""
    if isinstance(error, SyntaxError):
        line_number, reason = error.lineno or 1, error.msg
    elif isinstance(error, tokenize.TokenError):
        line_number, reason = error.args[1][0], "a bracket or quotation mark is not closed"
    else:
        line_number, reason = 1, str(error) or "it ends too early"
    if no_literal := re.search(r"Failed to parse token '(.*)'$", reason, re.DOTALL):
        reason = f"{no_literal[1]} is no value (a string needs quotation marks)"
    lines = text.splitlines() or [""]
    line = lines[min(line_number, len(lines)) - 1].strip()
    place = f"{files.shown(path)}:{line_number}" if path else "binding"
    return f"{place} '{line}' is no gin: {reason.rstrip('.')}."
