"""Settings by dotted key, from YAML files or ``key=value,...``, that override an experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deepmac_ablate.errors import UserError, did_you_mean

# A single `key=value`. The value is quoted, a list, or the text up to the next comma.
_SETTING = re.compile(r"""\s*(?P<key>[A-Za-z]\w*(?:\.\w+)*)\s*=\s*
    (?P<value>'[^']*'|"[^"]*"|\[[^\]]*\]|[^,\[]*)(?:,|$)""", re.VERBOSE)


class _Loader(yaml.SafeLoader):
    """Loader of YAML 1.1 that reads 1e-4 as a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"),
    list("-+0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file.

    Returns:
        Settings by dotted key; lists are values.

    Raises:
        UserError: If the file does not exist or is not valid YAML; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    try:
        # Bytes, because the library recognises UTF-8 and UTF-16 by their byte order marks.
        content = yaml.load(data, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{_place(path, error)} is not valid YAML: {_reason(error)}.") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(
            f"{path} must contain a mapping of settings, not a {type(content).__name__}.")
    return dict(_flatten(content or {}, ""))


def parse_settings(text: str) -> dict[str, Any]:
    """Parse ``key=value,key=[1, 2],...``, the command-line syntax of the published code.

    Raises:
        UserError: If the text has another form.
    """
    settings, position = {}, 0
    while position < len(text):
        setting = _SETTING.match(text, position)
        if setting is None:
            raise UserError(
                f"--params-override: {text[position:]!r} is not a list of settings such as "
                "'trainer.train_steps=100,task.init_checkpoint=null'.")
        settings[setting["key"]] = _parse_value(setting["value"])
        position = setting.end()
    return settings


def apply_settings(settings: Mapping[str, Any], values: dict[str, Any], where: str) -> None:
    """Override the values of an experiment in place.

    Args:
        settings: New values by dotted key.
        values: All values of the experiment.
        where: Source of the settings, for messages.

    Raises:
        UserError: If keys have no counterpart here, naming all of them, or a value has another
            type than that of the experiment.
    """
    unknown = [f"{key}{_hint(key, values)}" for key in settings if key not in values]
    if unknown:
        raise UserError(
            f"{where}: no counterpart here for {', '.join(unknown)}; remove "
            f"{'it' if len(unknown) == 1 else 'them'}.")
    for key, value in settings.items():
        if not _has_type_of(value, values[key]):
            raise UserError(
                f"{where}: {key} = {value!r} has another type than the default {values[key]!r}.")
        values[key] = value


def _hint(key: str, known: Mapping[str, Any]) -> str:
    if any(name.startswith(f"{key}.") for name in known):
        return " (a group of settings, not a setting)"
    return f" ({hint.strip()})" if (hint := did_you_mean(key, known)) else ""


def _has_type_of(value: Any, default: Any) -> bool:  # noqa: ANN401
    """Return whether a value has the type of a default; None matches every type."""
    if default is None or value is None:
        return True
    if isinstance(default, str) and isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _flatten(content: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    flat = []
    for name, value in content.items():
        key = f"{prefix}{name}"
        flat += _flatten(value, f"{key}.") if isinstance(value, dict) else [(key, value)]
    return flat


def _parse_value(text: str) -> Any:  # noqa: ANN401
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        # For instance a path with a star.
        return text.strip()


def _place(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(path) if mark is None else f"{path}:{mark.line + 1}"


def _reason(error: yaml.YAMLError) -> str:
    reason = getattr(error, "problem", None) or str(error)
    return " ".join(str(reason).split()).rstrip(".")
