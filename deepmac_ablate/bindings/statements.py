"""Statements of gin files and texts, from gin's own parser; no registry is needed.

A plan reads the same few files for every arm, so each file is parsed once, and again only when its
inode, modification time or size changes.
"""

from __future__ import annotations

import codecs
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
from deepmac_ablate.errors import UserError, shorten

# One of gin's types: `BindingStatement`, `ImportStatement`, `IncludeStatement`, `BlockDeclaration`.
Statement = Any
Stamp = tuple[int, int, int]

_parsed: dict[Path, tuple[Stamp | None, tuple[Statement, ...]]] = {}


def file_stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """Return a value that changes whenever a file does, or None if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def file_statements(path: Path) -> tuple[Statement, ...]:
    """Return the statements of a file, in order, without following its includes.

    Raises:
        UserError: If the file cannot be read or is not valid gin.
    """
    # Taken before reading, so that a change in between is noticed the next time.
    now = file_stamp(path)
    known = _parsed.get(path)
    if known and now is not None and known[0] == now:
        return known[1]
    try:
        text = path.read_text(encoding=_encoding(path))
    except (OSError, UnicodeError) as error:
        raise UserError(f"Cannot read {files.display_name(path)!r} as text: {error}.") from error
    statements = _parse(text, path)
    _parsed[path] = now, statements
    return statements


def _encoding(path: Path) -> str:
    """Return UTF-16 for a file with its byte order mark, as Windows writes, otherwise UTF-8."""
    with path.open("rb") as file:
        marked = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if marked else "utf-8-sig"


@functools.lru_cache(maxsize=65536)
def text_statements(text: str) -> tuple[Statement, ...]:
    """Return the statements of a text that does not come from a file.

    Raises:
        UserError: If the text is not valid gin.
    """
    return _parse(text)


class _Delegate(config_parser.ParserDelegate):
    """Factory of references and macros for gin's parser."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def _parse(text: str, path: Path | None = None) -> tuple[Statement, ...]:
    statements = []
    try:
        parser = config_parser.ConfigParser(io.StringIO(text), _Delegate())
        # `parse_statement`, because the parser's iterator takes premature end of text for the end.
        while statement := parser.parse_statement():
            statements.append(statement)
    except (RecursionError, MemoryError) as error:
        place = f"{files.display_name(path)}: a value" if path else f"The binding {shorten(text)}"
        raise UserError(f"{place} is nested too deeply.") from error
    except (SyntaxError, tokenize.TokenError, StopIteration, TypeError) as error:
        raise UserError(_describe_syntax_error(error, text, path)) from error
    return tuple(statements)


def _describe_syntax_error(error: Exception, text: str, path: Path | None) -> str:
    """Return an error of gin's parser or Python's tokenizer as one sentence, with file and line."""
    if isinstance(error, SyntaxError):
        line_number, reason = error.lineno or 1, error.msg
    elif isinstance(error, tokenize.TokenError):
        line_number, reason = error.args[1][0], "a bracket or quotation mark is not closed"
    else:
        line_number, reason = 1, str(error) or "the text ends too early"
    if failed := re.search(r"Failed to parse token '(.*)'$", reason, re.DOTALL):
        reason = f"{failed[1]} is not a valid value (strings need quotation marks)"
    lines = text.splitlines() or [""]
    line = lines[min(line_number, len(lines)) - 1].strip()
    line = line if len(line) <= 100 else f"{line[:97]}..."
    place = f"{files.display_name(path)}:{line_number}" if path else "binding"
    return f"{place} '{line}' is not valid gin: {reason.rstrip('.')}."
