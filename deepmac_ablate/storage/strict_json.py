"""JSON that every program can read, without NaN or infinite numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmac_ablate.errors import UserError


def to_json(value: Any, indent: int | None = None) -> str:  # noqa: ANN401
    """Encode a value as strict JSON.

    Args:
        value: Numbers of Python or NumPy, strings, None, and lists, arrays and mappings of these.
            NaN and infinite numbers become null.
        indent: Spaces per level; None writes a single line.

    Raises:
        TypeError: If the value contains anything else.
    """
    form = {"indent": indent, "sort_keys": indent is not None, "ensure_ascii": False}
    try:
        # Usually there is nothing to replace, and the library is much faster.
        return json.dumps(value, allow_nan=False, **form)
    except (TypeError, ValueError):
        return json.dumps(_plain(value), **form)


def from_json(text: bytes, where: str) -> dict[str, Any]:
    """Decode a JSON object.

    Args:
        text: Encoded object.
        where: Place that it was read from, for messages.

    Raises:
        UserError: If the text is not a JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where} is broken: it is not valid JSON ({error}); delete it.") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} is broken: it is not a JSON object; delete it.")
    return value


def from_json_lines(text: bytes | None, where: str) -> list[dict[str, Any]]:
    """Decode a JSON object from each line; none if there is no text.

    An incomplete last line, left by a killed writer, is dropped.

    Raises:
        UserError: If a line is not a JSON object; the message names the line and `where`.
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
    raise TypeError(f"{name!r} has type {type(value).__name__}, which cannot be written as JSON.")


def read_json_file(path: Path, what: str, instead: str) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON file that a user passes.

    Args:
        path: Path of the file.
        what: Kind of file for messages, such as "annotations file".
        instead: Description of the file to pass if the path is a folder.

    Raises:
        UserError: If the file does not exist or is not valid JSON; with line and column.
    """
    try:
        # Bytes, because the library recognises UTF-8, UTF-16 and UTF-32, with or without a byte
        # order mark, as editors and shells of Windows write.
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"The {what} {path} does not exist.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder; pass {instead}.") from error
    except OSError as error:
        raise UserError(f"The {what} {path} cannot be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a JSON text file (byte {error.start}).") from error
    except ValueError as error:
        # Python refuses to convert integers of thousands of digits.
        raise UserError(f"{path} holds an integer of more than 4300 digits.") from error
    except RecursionError as error:
        raise UserError(f"{path} nests lists or objects too deeply to be read.") from error
