"""What the files of one trial's folder say, broken ones included."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.trial_status import TAIL, TrialStatus, parse_last_line
from deepmac_ablate.results.loading.source import Record, is_metric
from deepmac_ablate.storage.strict_json import from_json

# What changes when a finished trial does.
WATCHED = ("result.json", "sweep.json", "trial.json", "attempts.jsonl")

_METRICS = "metrics.jsonl"
# What is in memory at a time.
_TRIALS_AT_A_TIME = 500

_TRAINING = ("train", "train_and_eval")
# What `provenance.code_state` reads of a start, and `provenance.current_code` of the last one.
_OF_CODE = ("mode", "step", "steps", "code", "modules")
_OF_A_START = {
    "mode": str, "step": int, "steps": int, "code": str, "modules": list,
    "gin_files": dict, "commit": str, "time": int | float}
# A trial without a supervisor says nothing but its numbers, which may come minutes apart.
_SECONDS_OF_SILENCE = 600.0


def read(folder: str) -> Record | None:
    """Read a trial.

    Args:
        folder: On a disk or on ``gs://``; may be missing.

    Returns:
        The trial, without what only its sweep's plan knows; its status is "failed" and its cause
        names the file where one is broken. None where there is no trial.
    """
    return _Reader(folder).record()


def read_many(folders: Sequence[str]) -> Iterator[Record | None]:
    """Yield what `read` returns of each folder on ``gs://``, with many files read at a time.

    Raises:
        UserError: If a file cannot be had: rights or the network are wrong for all of them.
    """
    for first in range(0, len(folders), _TRIALS_AT_A_TIME):
        some = folders[first:first + _TRIALS_AT_A_TIME]
        texts = storage.read_many(f"{it}/{name}" for it in some for name in trial_status.FILES)
        # Results later: what finishes meanwhile is finished.
        texts |= storage.read_many(f"{it}/{name}" for it in some for name in WATCHED)
        unfinished = [it for it in some if texts[f"{it}/{trial_status.RESULT}"] is None]
        texts |= storage.read_many([f"{it}/{_METRICS}" for it in unfinished], TAIL)
        for folder in some:
            yield _Reader(folder, texts).record()


class _Reader:
    """Reads the files of a folder, and remembers what is wrong with them.

    Args:
        folder: The trial's.
        texts: What was read already, by path; None: nothing.
    """

    def __init__(self, folder: str, texts: Mapping[str, bytes | None] | None = None) -> None:
        self._folder = folder
        self._there = texts
        self._broken: list[str] = []

    def record(self) -> Record | None:
        states = {f"{self._folder}/{name}": self._text(name) for name in trial_status.FILES}
        # Results later: what finishes meanwhile is finished.
        texts = {name: self._text(name) for name in WATCHED}
        identified = any(texts[name] is not None for name in WATCHED[:3])
        if not identified and not self._broken:
            return None
        trial, sweep, result = (
            self._object(name, texts[name]) for name in ("trial.json", "sweep.json", "result.json"))
        starts = self._starts(texts["attempts.jsonl"])
        status, last, cause = self._standing(states, texts["result.json"] is not None)
        levels = self._field(sweep, "sweep.json", "levels", dict, {})
        record = Record(
            trial=self._field(trial, "trial.json", "id", str, self._folder.rpartition("/")[2]),
            sweep=self._field(sweep, "sweep.json", "sweep", str, ""),
            arm=self._field(sweep, "sweep.json", "arm", str, "")
            or self._field(trial, "trial.json", "arm", str, ""),
            baseline=self._field(sweep, "sweep.json", "baseline", bool, False),
            seed=self._field(trial, "trial.json", "seed", int, None),
            levels={axis: str(level) for axis, level in levels.items()},
            status=status,
            cause=cause,
            step=self._field(result, "result.json", "step", int, None),
            steps=starts[-1].get("steps") if starts else None,
            attempts=_attempts(starts, last),
            train_seconds=self._field(result, "result.json", "train_seconds", int | float, None),
            dataset=self._field(result, "result.json", "dataset", str, None),
            commit=starts[-1].get("commit") if starts else None,
            folder=self._folder,
            starts=_of_code(starts),
            metrics=self._metrics(result))
        if self._broken:
            return record._replace(
                status="failed", cause=" ".join(self._broken), starts=(), metrics={})
        return record if status == "finished" else self._unfinished(record, starts)

    def _text(self, name: str, tail: int | None = None) -> bytes | None:
        path = f"{self._folder}/{name}"
        if self._there is not None:
            return self._there[path]
        try:
            return storage.read(path) if tail is None else storage.read_tail(path, tail)
        except OSError as error:
            self._broken.append(f"{name} cannot be read ({error.strerror}).")
            return None

    def _object(self, name: str, text: bytes | None) -> dict[str, Any]:
        try:
            return {} if text is None else from_json(text, name)
        except UserError as error:
            self._broken.append(str(error))
            return {}

    def _field(
        self, content: Mapping[str, Any], file: str, name: str, kind: Any, missing: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return a field, or `missing` where there is none or one of another type."""
        value = content.get(name)
        if value is None:
            return missing
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._broken.append(f"{file} is broken, as its {name!r} is {value!r}; delete it.")
            return missing
        return value

    def _metrics(self, result: Mapping[str, Any]) -> dict[str, float]:
        metrics = {
            name: math.nan if value is None else value
            for name, value in result.items() if is_metric(name)}
        for name, value in metrics.items():
            if type(value) not in (int, float):
                self._broken.append(
                    f"result.json is broken, as {name!r} is {value!r} and no number; delete it.")
                break
        return metrics

    def _starts(self, text: bytes | None) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl; a last one without its end was never finished."""
        lines = enumerate((text or b"").split(b"\n")[:-1], 1)
        starts = [self._object(f"Line {number} of attempts.jsonl", line) for number, line in lines]
        for number, start in enumerate(starts, 1):
            for name, kind in _OF_A_START.items():
                if name in start:
                    start[name] = self._field(
                        start, f"Line {number} of attempts.jsonl", name, kind, None)
        return starts

    def _standing(self, states: Mapping[str, bytes | None], has_result: bool) -> TrialStatus:
        try:
            return trial_status.parse_status(self._folder, states, has_result)
        except UserError as error:
            if has_result:
                # Whatever became of its supervisor.
                return TrialStatus("finished")
            self._broken.append(str(error))
            return TrialStatus("failed")

    def _unfinished(self, record: Record, starts: Sequence[Mapping[str, Any]]) -> Record:
        """Add what is not read of finished trials."""
        noted = parse_last_line(self._text(_METRICS, TAIL))
        step = noted.get("step")
        record = record._replace(step=step if isinstance(step, int) else None)
        if record.status != "new" or not starts:
            return record
        # Nobody watched it, so that only its own files can tell.
        signs = [start.get("time") or 0.0 for start in starts] + [noted.get("wall_time") or 0.0]
        if time.time() - max(signs) < _SECONDS_OF_SILENCE:
            return record._replace(status="running")
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(max(signs)))
        return record._replace(
            status="interrupted",
            cause=f"it was started without a supervisor; its last sign of life is of {day} UTC")


def _attempts(starts: Sequence[Mapping[str, Any]], last: Attempt | None) -> int:
    """Return how often training was started; it may have failed before it could note so."""
    trained = sum(start.get("mode") in _TRAINING for start in starts)
    return max(trained, last.number if last and last.role == "train" else 0)


def _of_code(starts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what tells by which code a trial was made; nothing where one start does not say."""
    if any(start.get(name) is None for start in starts for name in _OF_CODE):
        return []
    # Earlier versions noted no gin files.
    return [{name: start.get(name) for name in (*_OF_CODE, "gin_files")} for start in starts]
