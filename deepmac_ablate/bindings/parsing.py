"""Puts bindings into gin, and gin's complaints into one sentence.

gin's state is global and its scopes are per thread: everything here belongs on the main thread.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

import gin

from deepmac_ablate.bindings.checks import check_names, problems
from deepmac_ablate.bindings.text import Binding, Import, Text, merge, read
from deepmac_ablate.errors import UserError


def parse(gin_files: Sequence[str], bindings: Sequence[str]) -> tuple[Binding, ...]:
    """Make gin hold exactly these bindings, checked and locked.

    Configurables must have been imported before, by Python or by the gin files themselves.

    Args:
        gin_files: Absolute, or relative to the working directory or to `gin_files.ROOT`.
        bindings: Each ``selector.parameter = value`` or ``MACRO = value``. Later ones win, over
            earlier ones and over all files.

    Returns:
        Every binding that was read, in order, replaced ones included.

    Raises:
        UserError: For the first mistake; gin then holds nothing.
    """
    text = read(gin_files, bindings)
    for problem in configure_gin(text):
        raise problem
    return text.bindings


def configure_gin(text: Text) -> list[UserError]:
    """Make gin hold exactly these bindings, checked and locked.

    Args:
        text: What `text.read` returned.

    Returns:
        Every problem with names, types and missing values, with file and line; gin then holds
        nothing.
    """
    gin.clear_config()
    try:
        for statement in text.imports:
            run_import(statement)
        found = list(problems(text.bindings))
        if not found:
            for binding in merge(text.bindings).values():
                bind(binding)
            gin.finalize()
    except UserError as problem:
        found = [problem]
    except BaseException:
        gin.clear_config()
        raise
    if found:
        gin.clear_config()
    return found


def read_known(gin_files: Sequence[str], bindings: Sequence[str]) -> tuple[Binding, ...]:
    """Read bindings that need not be complete, having imported what the files import.

    gin holds nothing of them. Values are not checked, as a part of a configuration may leave
    macros to others.

    Raises:
        UserError: As `text.read`; for an import that fails, and for a binding of what there is not.
    """
    text = read(gin_files, bindings)
    with isolated():
        for statement in text.imports:
            run_import(statement)
    check_names(text.bindings)
    return text.bindings


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Leave gin without bindings before and after, whatever happened within."""
    gin.clear_config()
    try:
        yield
    finally:
        gin.clear_config()


@contextlib.contextmanager
def constructing() -> Iterator[None]:
    """Turn gin's complaints while configurables are called into one sentence.

    Raises:
        UserError: If a parameter without a value was bound nowhere, or if a configurable raised a
            UserError: gin appends a line for every call on the way, which this takes off.
    """
    try:
        yield
    except UserError as error:
        sentence, *calls = str(error).split("\n  In call to configurable")
        if calls:
            raise UserError(sentence) from error
        raise
    except (RuntimeError, TypeError) as error:
        if missing := _missing_parameter(str(error)):
            raise UserError(f"{missing} must be set; add a binding '{missing} = ...'.") from error
        raise


def config_text() -> str:
    """Return what was asked for: every binding, as a gin file."""
    return gin.config_str()


def operative_text() -> str:
    """Return what took effect, defaults included, as a gin file; complete once all is built."""
    return gin.operative_config_str()


def run_import(statement: Import) -> None:
    """Execute an import statement of a gin file.

    Raises:
        UserError: If there is no such module.
    """
    if "__gin__" in statement.statement:
        # It would last for this one statement, as each is given to gin alone.
        raise UserError(f"{statement.where} '{statement.statement}': write an import of modules.")
    try:
        gin.parse_config(statement.statement)
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{statement.where} '{statement.statement}': {reason}.") from error


def bind(binding: Binding) -> None:
    """Give gin a binding that has been checked.

    Raises:
        UserError: If gin does not take it.
    """
    try:
        gin.parse_config(str(binding))
    except SyntaxError as error:
        # Text was read into this value, so the value is what gin cannot read back: 1e999 is `inf`.
        raise UserError(f"{binding.place}: gin has no way to write this value.") from error
    except ValueError as error:
        # What `check` does not look for, such as a denylist.
        raise UserError(f"{binding.place}: {str(error).splitlines()[0]}") from error


def _missing_parameter(message: str) -> str | None:
    """Find the parameter that nobody gave a value in what gin says of a call."""
    required = re.search(r"Required bindings for `(.+?)` not provided .*?\['(.+?)'", message)
    if required:
        return f"{required[1]}.{required[2]}"
    unbound = re.search(r"No values supplied by Gin or caller for arguments: \['(.+?)'", message)
    called = re.search(r"In call to configurable '(.+?)'", message)
    # gin lists an argument as soon as any call below raises a TypeError; Python says if it is that.
    if unbound and called and "missing" in message.partition("\n")[0]:
        return f"{called[1]}.{unbound[1]}"
    return None
