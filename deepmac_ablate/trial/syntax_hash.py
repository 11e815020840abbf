"""Hash of the syntax of Python sources, without comments, docstrings and layout.

It is the same on all supported versions of Python, which `ast.dump` is not: newer versions have
more fields, and leave out what is empty.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection
from typing import Any

# Raised by `ast.parse` for what is not Python; which of them depends on the version.
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)

# Fields of nodes that say nothing: `ctx` follows from the place, `kind` is the u of u"".
_SILENT = ("ctx", "kind", "type_comment")


def syntax_hash(source: bytes, own: Collection[str] = ()) -> str | None:
    """Return a hash of a source's syntax, or of its text where it cannot be parsed.

    Imports count by the names that they give, in any order, and not by the modules of one's own
    from which the names come: those may move, and are hashed themselves.

    Args:
        source: Content of a Python file.
        own: First parts of the names of one's own modules.

    Returns:
        64 hexadecimal digits, or None for a file that holds nothing but imports.
    """
    syntax = _Syntax(own)
    try:
        syntax.add(ast.parse(source).body)
    except NOT_PYTHON:
        return hashlib.sha256(source).hexdigest()
    if syntax.words == ["[", "]"]:
        return None
    return hashlib.sha256(" ".join([*syntax.words, *sorted(syntax.imported)]).encode()).hexdigest()


class _Syntax:
    """Writer of syntax trees.

    Attributes:
        words: What was written.
        imported: The names that are imported.
    """

    def __init__(self, own: Collection[str]) -> None:
        self.words: list[str] = []
        self.imported: set[str] = set()
        self._own = own

    def add(self, value: Any) -> None:  # noqa: ANN401 - nodes, lists and literals
        """Write a node, a list of nodes, or the value of a node's field."""
        if isinstance(value, ast.Import | ast.ImportFrom):
            self._add_import(value)
        elif isinstance(value, ast.AST):
            if not _is_silent(value):
                self._add_node(value)
        elif isinstance(value, list):
            self.words.append("[")
            for item in value:
                self.add(item)
            self.words.append("]")
        else:
            # In ASCII: which other characters are printable depends on the version.
            self.words.append(ascii(value))

    def _add_node(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            # Python 3.12 ends nested formats with an empty constant.
            node.values = [part for part in node.values if getattr(part, "value", None) != ""]
        self.words += [type(node).__name__, "("]
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != [] and field not in _SILENT:
                self.words.append(field)
                self.add(value)
        self.words.append(")")

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            self.imported |= {
                f"{alias.name} as {alias.asname}" for alias in node.names
                if alias.name.partition(".")[0] not in self._own}
            return
        module = "" if node.level else node.module or ""
        if module.partition(".")[0] in self._own:
            module = ""
        self.imported |= {f"{module} {alias.name} as {alias.asname}" for alias in node.names}


def _is_silent(node: ast.AST) -> bool:
    """Return whether a node does nothing: `pass`, or a string alone, as docstrings are."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str))
