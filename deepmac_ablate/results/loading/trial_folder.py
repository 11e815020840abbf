"""The record of a trial, read from the files in its folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.trial_status import TAIL, TrialStatus, parse_last_line
from deepmac_ablate.results.loading.source import TrialRecord, is_metric
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json

# The files that change when a finished trial changes.
WATCHED = ("result.json", "sweep.json", "trial.json", "attempts.jsonl")

_METRICS = "metrics.jsonl"
# The number of trials whose files are in memory at a time.
_TRIALS_AT_A_TIME = 500

_TRAINING = ("train", "train_and_eval")
# The fields of a start that `provenance.code_state` and `provenance.current_code` need.
_CODE_FIELDS = ("mode", "step", "steps", "code", "modules")
_START_FIELDS = {
    "mode": str, "step": int, "steps": int, "code": str, "modules": list,
    "gin_files": dict, "commit": str, "time": int | float}
# A trial without a supervisor shows no sign of life but its metrics, which may be minutes apart.
_SECONDS_OF_SILENCE = 600.0


def read_trial_folder(folder: str) -> TrialRecord | None:
    """Return the record of a trial, without the fields that only its sweep's plan knows.

    Args:
        folder: The trial's folder, on a disk or on ``gs://``; may be missing.

    Returns:
        The record; if a file is broken, its status is "failed" and its cause names the file. None
        if there is no trial in the folder.
    """
    return _FolderReader(folder).read_record()


def read_trial_folders(folders: Sequence[str]) -> Iterator[TrialRecord | None]:
    """Yield the records of trials on ``gs://``, with many files read in parallel.

    Raises:
        UserError: If a file cannot be read because of missing permissions or the network.
    """
    for first in range(0, len(folders), _TRIALS_AT_A_TIME):
        some = folders[first:first + _TRIALS_AT_A_TIME]
        texts = file_io.read_many(
            f"{folder}/{name}" for folder in some for name in trial_status.FILES)
        # Results are read after states, so that a trial that finishes meanwhile counts as finished.
        texts |= file_io.read_many(f"{folder}/{name}" for folder in some for name in WATCHED)
        unfinished = [
            folder for folder in some if texts[f"{folder}/{trial_status.RESULT}"] is None]
        texts |= file_io.read_many([f"{folder}/{_METRICS}" for folder in unfinished], TAIL)
        for folder in some:
            yield _FolderReader(folder, texts).read_record()


class _FolderReader:
    """Reader of the files of a trial's folder, which collects errors about broken files.

    Args:
        folder: The trial's folder.
        texts: The contents that were read already, by path; None if none were.
    """

    def __init__(self, folder: str, texts: Mapping[str, bytes | None] | None = None) -> None:
        self._folder = folder
        self._texts = texts
        self._broken: list[str] = []

    def read_record(self) -> TrialRecord | None:
        states = {f"{self._folder}/{name}": self._text(name) for name in trial_status.FILES}
        # Results are read after states, so that a trial that finishes meanwhile counts as finished.
        texts = {name: self._text(name) for name in WATCHED}
        identified = any(texts[name] is not None for name in WATCHED[:3])
        if not identified and not self._broken:
            return None
        trial, sweep, result = (
            self._object(name, texts[name]) for name in ("trial.json", "sweep.json", "result.json"))
        starts = self._starts(texts["attempts.jsonl"])
        status, last, cause = self._standing(states, texts["result.json"] is not None)
        levels = self._field(sweep, "sweep.json", "levels", dict, {})
        record = TrialRecord(
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
            starts=_code_fields(starts),
            metrics=self._metrics(result))
        if self._broken:
            return record._replace(
                status="failed", cause=" ".join(self._broken), starts=(), metrics={})
        return record if status == "finished" else self._unfinished(record, starts)

    def _text(self, name: str, tail: int | None = None) -> bytes | None:
        path = f"{self._folder}/{name}"
        if self._texts is not None:
            return self._texts[path]
        try:
            return file_io.read(path) if tail is None else file_io.read_tail(path, tail)
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
        """Return a field, or `missing` if it does not exist or has another type."""
        value = content.get(name)
        if value is None:
            return missing
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._broken.append(f"{file} is broken: its {name!r} is {value!r}; delete it.")
            return missing
        return value

    def _metrics(self, result: Mapping[str, Any]) -> dict[str, float]:
        metrics = {
            name: math.nan if value is None else value
            for name, value in result.items() if is_metric(name)}
        for name, value in metrics.items():
            if type(value) not in (int, float):
                self._broken.append(
                    f"result.json is broken: {name!r} must be a number, got {value!r}; delete it.")
                break
        return metrics

    def _starts(self, text: bytes | None) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl, without an incomplete last line."""
        lines = enumerate((text or b"").split(b"\n")[:-1], 1)
        starts = [self._object(f"Line {number} of attempts.jsonl", line) for number, line in lines]
        for number, start in enumerate(starts, 1):
            for name, kind in _START_FIELDS.items():
                if name in start:
                    start[name] = self._field(
                        start, f"Line {number} of attempts.jsonl", name, kind, None)
        return starts

    def _standing(self, states: Mapping[str, bytes | None], has_result: bool) -> TrialStatus:
        try:
            return trial_status.parse_status(self._folder, states, has_result)
        except UserError as error:
            if has_result:
                # With a result, the state of its supervisor no longer matters.
                return TrialStatus("finished")
            self._broken.append(str(error))
            return TrialStatus("failed")

    def _unfinished(self, record: TrialRecord, starts: Sequence[Mapping[str, Any]]) -> TrialRecord:
        """Add the step, and the status if the trial has no supervisor."""
        last_metrics = parse_last_line(self._text(_METRICS, TAIL))
        step = last_metrics.get("step")
        record = record._replace(step=step if isinstance(step, int) else None)
        if record.status != "new" or not starts:
            return record
        # It was started without a supervisor, so only its own files show whether it runs.
        times = [start.get("time") or 0.0 for start in starts]
        last_sign = max(*times, last_metrics.get("wall_time") or 0.0)
        if time.time() - last_sign < _SECONDS_OF_SILENCE:
            return record._replace(status="running")
        written = time.strftime("%Y-%m-%d %H:%M", time.gmtime(last_sign))
        return record._replace(
            status="interrupted",
            cause=f"started without a supervisor, last sign of life at {written} UTC")


def _attempts(starts: Sequence[Mapping[str, Any]], last: Attempt | None) -> int:
    """Return the number of starts of training, including one that failed before it was recorded."""
    trained = sum(start.get("mode") in _TRAINING for start in starts)
    return max(trained, last.number if last and last.role == "train" else 0)


def _code_fields(starts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that tell with which code a trial ran; none if any start lacks one."""
    if any(start.get(name) is None for start in starts for name in _CODE_FIELDS):
        return []
    # Earlier versions did not record gin files.
    return [{name: start.get(name) for name in (*_CODE_FIELDS, "gin_files")} for start in starts]
