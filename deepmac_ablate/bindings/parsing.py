"""Hands checked bindings to gin, and turns gin's errors into one sentence.

gin's state is global and its scopes are per thread: call everything here from the main thread.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

import gin

from deepmac_ablate.bindings.checks import binding_problems, check_names
from deepmac_ablate.bindings.text import Binding, Import, Text, merge, read
from deepmac_ablate.errors import UserError

_IN_LAYER = re.compile(
    r"Exception encountered when calling layer .*?\n\n(.*?)\n\nCall arguments received", re.DOTALL)


def parse(gin_files: Sequence[str], bindings: Sequence[str]) -> tuple[Binding, ...]:
    """Read and check gin files and bindings, and replace gin's configuration with them.

    Configurables must have been imported before, by Python or by the gin files themselves.

    Args:
        gin_files: Absolute paths, or paths relative to the working directory or to
            `gin_files.ROOT`.
        bindings: Texts such as ``selector.parameter = value`` or ``MACRO = value``. Later ones
            override earlier ones and all files.

    Returns:
        Every binding that was read, in order, including those that were overridden.

    Raises:
        UserError: For the first mistake; gin's configuration is then empty.
    """
    text = read(gin_files, bindings)
    for problem in configure_gin(text):
        raise problem
    return text.bindings


def configure_gin(text: Text) -> list[UserError]:
    """Check bindings, replace gin's configuration with them and lock it.

    Args:
        text: The result of `text.read`.

    Returns:
        Every problem with names, types and missing values, with file and line. If there is one,
        gin's configuration is left empty.
    """
    gin.clear_config()
    try:
        for statement in text.imports:
            execute_import(statement)
        found = list(binding_problems(text.bindings))
        if not found:
            for binding in merge(text.bindings).values():
                apply_binding(binding)
            gin.finalize()
    except UserError as problem:
        found = [problem]
    except BaseException:
        gin.clear_config()
        raise
    if found:
        gin.clear_config()
    return found


def read_partial(gin_files: Sequence[str], bindings: Sequence[str]) -> tuple[Binding, ...]:
    """Read a part of a configuration, run its imports and check names, without configuring gin.

    Values are not checked, because a part of a configuration may use macros that others define.

    Raises:
        UserError: See `text.read`; or if an import fails, or a binding names an unknown
            configurable or parameter.
    """
    text = read(gin_files, bindings)
    with isolated():
        for statement in text.imports:
            execute_import(statement)
    check_names(text.bindings)
    return text.bindings


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Clear gin's configuration before and after the block, even if the block fails."""
    gin.clear_config()
    try:
        yield
    finally:
        gin.clear_config()


@contextlib.contextmanager
def constructing() -> Iterator[None]:
    """Turn errors that gin raises or extends during construction into one sentence.

    Raises:
        UserError: If a required parameter is not bound, or if a configurable raised a UserError:
            the lines that gin appends for every enclosing call, and Keras for the layer, are
            removed.
    """
    try:
        yield
    except UserError as error:
        sentence = str(error).partition("\n  In call to configurable")[0]
        if in_layer := _IN_LAYER.search(sentence):
            sentence = in_layer[1]
        if sentence != str(error):
            raise UserError(sentence) from error
        raise
    except (RuntimeError, TypeError) as error:
        if missing := _missing_parameter(str(error)):
            raise UserError(f"{missing} must be set; add a binding '{missing} = ...'.") from error
        raise


def config_text() -> str:
    """Return the requested configuration: every binding, as the text of a gin file."""
    return gin.config_str()


def operative_text() -> str:
    """Return the effective configuration, defaults included; complete after construction."""
    return gin.operative_config_str()


def execute_import(statement: Import) -> None:
    """Execute an import statement of a gin file.

    Raises:
        UserError: If the module does not exist, or the import is of `__gin__`.
    """
    if "__gin__" in statement.statement:
        # It would apply to this one statement only, because gin receives each one separately.
        raise UserError(
            f"{statement.where} '{statement.statement}': gin files can import modules only.")
    try:
        gin.parse_config(statement.statement)
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{statement.where} '{statement.statement}': {reason}.") from error


def apply_binding(binding: Binding) -> None:
    """Add a checked binding to gin's configuration.

    Raises:
        UserError: If gin rejects it.
    """
    try:
        gin.parse_config(str(binding))
    except SyntaxError as error:
        # The text was read, so the value is what gin cannot read back: 1e999 becomes `inf`.
        raise UserError(f"{binding.place}: gin cannot represent this value.") from error
    except ValueError as error:
        # `checks` does not cover everything, such as denylists.
        raise UserError(f"{binding.place}: {str(error).splitlines()[0]}") from error


def _missing_parameter(message: str) -> str | None:
    """Return the parameter without a value that an error of gin is about, or None."""
    required = re.search(r"Required bindings for `(.+?)` not provided .*?\['(.+?)'", message)
    if required:
        return f"{required[1]}.{required[2]}"
    unbound = re.search(r"No values supplied by Gin or caller for arguments: \['(.+?)'", message)
    called = re.search(r"In call to configurable '(.+?)'", message)
    # gin lists arguments whenever a nested call raises a TypeError; Python's own message tells
    # whether one was missing.
    if unbound and called and "missing" in message.partition("\n")[0]:
        return f"{called[1]}.{unbound[1]}"
    return None
