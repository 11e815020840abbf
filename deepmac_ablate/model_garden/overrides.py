"""Settings by dotted key, from a YAML file or from ``key=value,...``, and onto an experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deepmac_ablate.errors import UserError, did_you_mean

# One `key=value`: a value is quoted, a list, or whatever is left up to the next comma.
_SETTING = re.compile(r"""\s*(?P<key>[A-Za-z]\w*(?:\.\w+)*)\s*=\s*
    (?P<value>'[^']*'|"[^"]*"|\[[^\]]*\]|[^,\[]*)(?:,|$)""", re.VERBOSE)


class _Loader(yaml.SafeLoader):
    """YAML 1.1, in which 1e-4 is a number as well."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"),
    list("-+0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file.

    Returns:
        Values by dotted key; lists are values.

    Raises:
        UserError: if the file is missing or is no YAML; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path} as text: {error}.") from error
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{_place(path, error)} is no YAML: {_reason(error)}.") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{path} is no mapping of settings but a {type(content).__name__}.")
    return dict(_flat(content or {}, ""))


def read_settings(text: str) -> dict[str, Any]:
    """Read ``key=value,key=[1, 2],...``, as the published code takes it on its command line.

    Raises:
        UserError: where the text is something else.
    """
    settings, position = {}, 0
    while position < len(text):
        setting = _SETTING.match(text, position)
        if setting is None:
            raise UserError(
                f"--params-override: {text[position:]!r} is no list of settings such as "
                "'trainer.train_steps=100,task.init_checkpoint=null'.")
        settings[setting["key"]] = _value(setting["value"])
        position = setting.end()
    return settings


def apply(settings: Mapping[str, Any], to: dict[str, Any], where: str) -> None:
    """Replace values by settings.

    Args:
        settings: what is set, by dotted key.
        to: an experiment's values; changed in place.
        where: what the settings are called in messages.

    Raises:
        UserError: naming all keys that are unknown or have no counterpart here, or the first value
            of another type than the experiment's.
    """
    unknown = [f"{key}{_hint(key, to)}" for key in settings if key not in to]
    if unknown:
        raise UserError(
            f"{where}: nothing here corresponds to {', '.join(unknown)}; take "
            f"{'it' if len(unknown) == 1 else 'them'} out.")
    for key, value in settings.items():
        if not _fits(value, to[key]):
            raise UserError(
                f"{where}: {key} = {value!r} is of another type than the usual {to[key]!r}.")
        to[key] = value


def _hint(key: str, known: Mapping[str, Any]) -> str:
    if any(name.startswith(f"{key}.") for name in known):
        return " (a group of settings, not one)"
    return f" ({hint.strip()})" if (hint := did_you_mean(key, known)) else ""


def _fits(value: Any, usual: Any) -> bool:  # noqa: ANN401
    """Whether a value has the type of another; None stands for any, as nothing is known of it."""
    if usual is None or value is None:
        return True
    if isinstance(usual, str) and isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(usual, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(usual)


def _flat(content: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    flat = []
    for name, value in content.items():
        key = f"{prefix}{name}"
        flat += _flat(value, f"{key}.") if isinstance(value, dict) else [(key, value)]
    return flat


def _value(text: str) -> Any:  # noqa: ANN401
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        # A path with a star, for instance.
        return text.strip()


def _place(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(path) if mark is None else f"{path}:{mark.line + 1}"


def _reason(error: yaml.YAMLError) -> str:
    reason = getattr(error, "problem", None) or str(error)
    return " ".join(str(reason).split()).rstrip(".")
