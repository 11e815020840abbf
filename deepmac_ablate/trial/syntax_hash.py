"""Hash of the syntax of Python sources, without comments, docstrings and formatting.

It is the same on all supported versions of Python, unlike `ast.dump`: newer versions have more
fields, and leave out empty ones.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection
from typing import Any

# Raised by `ast.parse` for text that is not Python; the version decides which one.
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)

# Fields of nodes without meaning: `ctx` follows from the position, `kind` is the u of u"".
_IGNORED_FIELDS = ("ctx", "kind", "type_comment")


def syntax_hash(source: bytes, own: Collection[str] = ()) -> str | None:
    """Return a hash of a source's syntax, or of its text if it cannot be parsed.

    Imports count by the names that they bind, in any order. The modules that names come from do not
    count if they are own ones, which may move and are hashed themselves.

    Args:
        source: The content of a Python file.
        own: Top-level names of own packages and modules.

    Returns:
        64 hexadecimal digits, or None for a file of imports only.
    """
    syntax = _SyntaxWriter(own)
    try:
        syntax.add(ast.parse(source).body)
    except NOT_PYTHON:
        return hashlib.sha256(source).hexdigest()
    if syntax.words == ["[", "]"]:
        return None
    return hashlib.sha256(" ".join([*syntax.words, *sorted(syntax.imported)]).encode()).hexdigest()


class _SyntaxWriter:
    """Writer of syntax trees as lists of words.

    Attributes:
        words: The words written so far.
        imported: The names that are imported.
    """

    def __init__(self, own: Collection[str]) -> None:
        self.words: list[str] = []
        self.imported: set[str] = set()
        self._own = own

    def add(self, value: Any) -> None:  # noqa: ANN401 - nodes, lists and literals
        """Write a node, a list of nodes, or the value of a field of a node."""
        if isinstance(value, ast.Import | ast.ImportFrom):
            self._add_import(value)
        elif isinstance(value, ast.AST):
            if not _has_no_effect(value):
                self._add_node(value)
        elif isinstance(value, list):
            self.words.append("[")
            for item in value:
                self.add(item)
            self.words.append("]")
        else:
            # ASCII only, as the printable characters beyond it depend on the version.
            self.words.append(ascii(value))

    def _add_node(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            # Python 3.12 adds an empty constant to nested formats.
            node.values = [part for part in node.values if getattr(part, "value", None) != ""]
        self.words += [type(node).__name__, "("]
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != [] and field not in _IGNORED_FIELDS:
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


def _has_no_effect(node: ast.AST) -> bool:
    """Return whether a node has no effect: `pass`, or a bare string such as a docstring."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str))
