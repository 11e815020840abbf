"""Gin text as gin's own parser reads it, without a registry; each file is parsed once.

A plan reads the same few files for thousands of arms. A file is parsed again when its inode, time
of modification or size is another.
"""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import tokenize
from pathlib import Path
from typing import Any

from gin import config_parser

from deepmac_ablate.bindings import gin_files as files
from deepmac_ablate.bindings.values import Macro, Reference
from deepmac_ablate.errors import UserError

# One of gin's: `BindingStatement`, `ImportStatement`, `IncludeStatement` or `BlockDeclaration`.
Statement = Any
Stamp = tuple[int, int, int]

_parsed: dict[Path, tuple[Stamp | None, tuple[Statement, ...]]] = {}


def stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """Return what changes when a file does, or None where there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def of_file(path: Path) -> tuple[Statement, ...]:
    """Return the statements of a file, in order; those that it includes are not followed.

    Raises:
        UserError: If it cannot be read, or is no gin.
    """
    # Before reading, so that a change in between is seen the next time.
    now = stamp(path)
    known = _parsed.get(path)
    if known and now is not None and known[0] == now:
        return known[1]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {files.shown(path)!r} as text: {error}.") from error
    statements = _parse(text, path)
    _parsed[path] = now, statements
    return statements


@functools.lru_cache(maxsize=65536)
def of_text(text: str) -> tuple[Statement, ...]:
    """Return the statements of a text that was not read from a file.

    Raises:
        UserError: If it is no gin.
    """
    return _parse(text)


class _Delegate(config_parser.ParserDelegate):
    """To gin's parser, the maker of references and macros."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def _parse(text: str, path: Path | None = None) -> tuple[Statement, ...]:
    statements = []
    try:
        parser = config_parser.ConfigParser(io.StringIO(text), _Delegate())
        # `parse_statement`, as the parser's iterator takes running out of tokens for the end.
        while statement := parser.parse_statement():
            statements.append(statement)
    except (SyntaxError, tokenize.TokenError, StopIteration, TypeError) as error:
        raise UserError(_no_gin(error, text, path)) from error
    return tuple(statements)


def _no_gin(error: Exception, text: str, path: Path | None) -> str:
    """Word what gin's parser or Python's tokenizer says in one sentence."""
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
