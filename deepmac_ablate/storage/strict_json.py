"""JSON that any program reads: numbers are numbers, and none of them is NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmac_ablate.errors import UserError


def to_json(value: Any, indent: int | None = None) -> str:  # noqa: ANN401
    """Write a value as JSON that every reader reads.

    Args:
        value: Numbers of Python or numpy, strings, None, and lists, arrays and mappings of such.
            What is not finite becomes null.
        indent: Spaces a level; None writes a single line.

    Raises:
        TypeError: If there is anything else in it.
    """
    form = {"indent": indent, "sort_keys": indent is not None, "ensure_ascii": False}
    try:
        # Mostly there is nothing to replace, which the library finds out much faster.
        return json.dumps(value, allow_nan=False, **form)
    except (TypeError, ValueError):
        return json.dumps(_plain(value), **form)


def from_json(text: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: If it is none; it names `where` it was read.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where} is broken, as it is no JSON ({error}); delete it.") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} is broken, as it is no JSON object; delete it.")
    return value


def from_json_lines(text: bytes | None, where: str) -> list[dict[str, Any]]:
    """Read a JSON object of each line; none where there is no text.

    A last line without its end is left out: its writer was killed, maybe within a character.

    Raises:
        UserError: If a line is none; it names the line and `where` it was read.
    """
    lines = enumerate((text or b"").split(b"\n")[:-1], 1)
    return [from_json(line, f"Line {number} of {where}") for number, line in lines]


def _plain(value: Any, name: str = "") -> Any:  # noqa: ANN401
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{name!r} is of type {type(value).__name__}, which is no number.")


def read_given(path: Path, what: str, instead: str) -> Any:  # noqa: ANN401 - JSON
    """Return the content of a JSON file that a user names.

    Args:
        path: Of the file.
        what: What it should be, such as "annotations file".
        instead: What to name where it is a folder.

    Raises:
        UserError: If there is no such file, or it is not JSON; with line and column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"The {what} {path} does not exist.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder; name {instead}.") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a JSON text file (byte {error.start}).") from error
