"""JSON that every program can read, without NaN or infinite numbers, and checks of its fields."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from deepmac_ablate.errors import UserError, shorten

# Larger numbers cannot be told from their neighbours in a double, nor kept in a data frame.
_MOST = 2**53


class Kind(NamedTuple):
    """Values that a field may have.

    Attributes:
        meaning: Description for messages, such as "a string".
        matches: Returns whether a value of JSON is one of them.
    """

    meaning: str
    matches: Callable[[Any], bool]


def number(minimum: float = -_MOST, maximum: float = _MOST) -> Kind:
    """Return the kind of the numbers in a range."""
    meaning = f"a number from {minimum:g} to {maximum:g}"
    return Kind(meaning, lambda value: _is_number(value) and minimum <= value <= maximum)


def optional(kind: Kind) -> Kind:
    """Return a kind to which null belongs, too; the field may be missing."""
    return Kind(f"{kind.meaning} or null", lambda value: value is None or kind.matches(value))


def one_of(*values: str) -> Kind:
    """Return the kind of some strings."""
    return Kind(f"one of {', '.join(values)}", lambda value: value in values)


def list_of(kind: Kind) -> Kind:
    """Return the kind of lists of a kind."""
    return Kind(
        f"a list, each entry {kind.meaning}",
        lambda value: isinstance(value, list) and all(map(kind.matches, value)))


def object_of(kind: Kind) -> Kind:
    """Return the kind of objects whose fields all have a kind."""
    return Kind(
        f"an object, each field {kind.meaning}",
        lambda value: isinstance(value, dict) and all(map(kind.matches, value.values())))


TEXT = Kind("a string", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind(
    "a whole number of at least 0",
    lambda value: isinstance(value, int) and _is_number(value) and 0 <= value <= _MOST)
FINITE = Kind("a number", lambda value: _is_number(value) and math.isfinite(value))
SEED = Kind(
    f"a whole number from 0 to {2**31 - 1}",
    lambda value: type(value) is int and 0 <= value < 2**31)
# 0 and negative numbers stand for groups of processes, which must never be signalled by mistake.
PID = Kind("a process ID", lambda value: type(value) is int and 0 < value < 2**31)
# Unix time in seconds, until the year 5138.
TIME = number(0, 1e11)


def check_fields(
    fields: Any,  # noqa: ANN401 - JSON
    kinds: Mapping[str, Kind], where: str, remedy: str = "delete it",
) -> None:
    """Check the fields of a JSON object; it may have others.

    Args:
        fields: The object.
        kinds: Kinds of its fields by name; only fields that may be null may be missing.
        where: Place that it was read from, for messages.
        remedy: Request to the user in messages.

    Raises:
        UserError: If it is not an object, or a field is missing or of another kind.
    """
    if not isinstance(fields, dict):
        raise UserError(f"{where} is broken: it is not a JSON object; {remedy}.")
    for name, kind in kinds.items():
        if not kind.matches(fields.get(name)):
            found = f"got {shorten(fields[name])}" if name in fields else "but is missing"
            raise UserError(
                f"{where} is broken: its {name!r} must be {kind.meaning}, {found}; {remedy}.")


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


def from_json(
    text: bytes, where: str, remedy: str = "delete it", *, any_bytes: bool = False
) -> dict[str, Any]:
    """Decode a JSON object.

    Args:
        text: Encoded object.
        where: Place that it was read from, for messages.
        remedy: Request to the user in messages.
        any_bytes: Whether strings may hold bytes that are not Unicode, as arguments and file names
            may, in Python's form of them (`os.fsdecode`).

    Raises:
        UserError: If the text is not a JSON object, or holds NaN or text that is not Unicode.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if b"\\ud" in text.lower():
            # Half of a pair of surrogates can be neither printed nor written.
            json.dumps(value, ensure_ascii=False).encode(
                errors="surrogateescape" if any_bytes else "strict")
    except RecursionError as error:
        raise UserError(f"{where} is broken: it nests too deeply; {remedy}.") from error
    except UnicodeError as error:
        raise UserError(f"{where} is broken: it is not Unicode text; {remedy}.") from error
    except ValueError as error:
        # Without Python's advice about integers of thousands of digits.
        reason = str(error).partition(";")[0]
        raise UserError(
            f"{where} is broken: it is not valid JSON ({reason}); {remedy}.") from error
    check_fields(value, {}, where, remedy)
    return value


def from_json_lines(
    text: bytes | None, where: str, kinds: Mapping[str, Kind]
) -> list[dict[str, Any]]:
    """Decode a JSON object from each line; none if there is no text.

    An incomplete last line, left by a killed writer, is dropped.

    Args:
        text: Encoded lines.
        where: Path of the file, for messages.
        kinds: Kinds of the fields of every line, as for `check_fields`.

    Raises:
        UserError: If a line is not such an object; the message names the line and `where`.
    """
    lines = []
    for place, line in enumerate((text or b"").split(b"\n")[:-1], 1):
        lines.append(from_json(line, f"Line {place} of {where}"))
        check_fields(lines[-1], kinds, f"Line {place} of {where}")
    return lines


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _is_number(value: Any) -> bool:  # noqa: ANN401
    # Integers beyond the largest double cannot be compared with one.
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


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
