"""Parsing of the files of a trial's folder; every reader of them goes through these functions.

A broken file raises a `UserError` that names the file, the field and its value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import (
    COUNT,
    FLAG,
    TEXT,
    TIME,
    Kind,
    check_fields,
    from_json,
    from_json_lines,
    list_of,
    number,
    object_of,
    one_of,
    optional,
)
from deepmac_ablate.trial.trial import Trial

# Written while a trial is evaluated.
PROGRESS = "progress.json"
# Written at the end of a rehearsal.
REHEARSAL = "rehearsal.json"

_INDEX = re.compile(r"ckpt-(\d+)\.index")
_RUN_AGAIN = "run the trial again to write a new one"

_NAMES = object_of(Kind("a string or a number", lambda value: isinstance(value, str | int | float)))
_PLACE = {
    "sweep": optional(TEXT), "arm": optional(TEXT), "levels": optional(_NAMES),
    "baseline": optional(FLAG)}
_RESULT = {
    "step": optional(COUNT), "train_seconds": optional(number(0)),
    "step_seconds": optional(number(0)), "setup_seconds": optional(number(0)),
    "evaluation_seconds": optional(number(0)), "trials_before": optional(COUNT),
    "dataset": optional(TEXT), "data_prefix": optional(TEXT), "dataset_images": optional(COUNT),
    "images": optional(COUNT), "metrics_code": optional(TEXT)}
# With a margin for rounding errors.
_METRIC = optional(number(0, 1 + 1e-6))
_PROGRESS = {
    "activity": TEXT, "done": COUNT, "total": COUNT, "seconds": number(0), "time": TIME}
_REHEARSAL = {
    **dict.fromkeys(
        ("step_seconds", "image_seconds", "setup_seconds", "restart_seconds"), number(0)),
    "timed_steps": COUNT, "images": COUNT}
_START = {
    "time": optional(TIME), "mode": optional(one_of("train", "eval", "train_and_eval",
                                                    "continuous_eval", "rehearse")),
    "step": optional(COUNT), "steps": optional(COUNT), "code": optional(TEXT),
    "modules": optional(list_of(TEXT)), "gin_files": optional(object_of(TEXT)),
    "commit": optional(TEXT), "dirty": optional(FLAG), "folder": optional(TEXT),
    "host": optional(TEXT), "platform": optional(TEXT), "versions": optional(_NAMES),
    "trial": optional(TEXT)}


def is_metric(name: str) -> bool:
    """Return whether a name has the form `<box source>/<metric>/<classes>`."""
    return name.count("/") >= 2


def checkpoint_step(name: str) -> int | None:
    """Return the step of the checkpoint that an index file belongs to; None for other files."""
    match = _INDEX.fullmatch(name)
    return int(match[1]) if match else None


def parse_result(text: bytes, where: str) -> dict[str, Any]:
    """Return the content of result.json; its metrics are in [0, 1], or None if undefined.

    A trial is finished if and only if this succeeds.

    Raises:
        UserError: If it is broken.
    """
    fields = from_json(text, where, _RUN_AGAIN)
    if not fields:
        raise UserError(f"{where} is broken: it is empty; {_RUN_AGAIN}.")
    kinds = {name: _METRIC for name in fields if is_metric(name)}
    check_fields(fields, _RESULT | kinds, where, _RUN_AGAIN)
    return fields


def result_metrics(fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics in the content of result.json; NaN if undefined."""
    return {
        name: math.nan if value is None else value
        for name, value in fields.items() if is_metric(name)}


def parse_progress(text: bytes, where: str) -> dict[str, Any]:
    """Return the content of progress.json: the fields of `progress.Reached` and the Unix `time`.

    Raises:
        UserError: If it is broken.
    """
    return _parse_object(text, where, _PROGRESS)


def parse_rehearsal(text: bytes, where: str) -> dict[str, Any]:
    """Return the content of rehearsal.json, see `training.rehearsal`.

    Raises:
        UserError: If it is broken.
    """
    return _parse_object(text, where, _REHEARSAL)


def parse_starts(text: bytes | None, where: str) -> list[dict[str, Any]]:
    """Return the lines of attempts.jsonl in order, without an incomplete last one.

    Raises:
        UserError: If another line is broken.
    """
    return from_json_lines(text, where, _START)


def parse_place(text: bytes, where: str) -> dict[str, Any]:
    """Return the content of sweep.json: the trial's sweep, arm and levels.

    Raises:
        UserError: If it is broken.
    """
    return _parse_object(text, where, _PLACE)


def parse_trial(text: bytes, where: str) -> tuple[str, Trial]:
    """Return the content of trial.json: the trial and its id.

    Raises:
        UserError: If it is broken.
    """
    fields = from_json(text, where)
    check_fields(fields, {"id": TEXT}, where)
    trial_id = fields.pop("id")
    return trial_id, Trial.from_json(json.dumps(fields), where)


def _parse_object(text: bytes, where: str, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    fields = from_json(text, where)
    check_fields(fields, kinds, where)
    return fields
