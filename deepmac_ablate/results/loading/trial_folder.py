"""The record of a trial, read from the files in its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.trial_status import TAIL
from deepmac_ablate.results.loading.source import TrialRecord, describe_setup
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.disk import StorageError
from deepmac_ablate.trial import provenance, trial_files
from deepmac_ablate.trial.metrics_log import parse_last_line
from deepmac_ablate.trial.trial import Trial

# The files that change when a finished trial changes.
WATCHED = ("result.json", "sweep.json", "trial.json", "attempts.jsonl")

_FILES = tuple(dict.fromkeys((*trial_status.FILES, *WATCHED)))
_METRICS = "metrics.jsonl"
# The number of trials whose files are in memory at a time.
_TRIALS_AT_A_TIME = 500

_TRAINING = ("train", "train_and_eval")
# A trial without a supervisor shows no sign of life but its metrics, which may be minutes apart.
_SECONDS_OF_SILENCE = 600.0


def read_trial_folder(folder: str) -> TrialRecord | None:
    """Return the record of a trial, without the fields that only its sweep's plan knows.

    Args:
        folder: The trial's folder, on a disk or on ``gs://``; may be missing.

    Returns:
        The record; None if there is no trial in the folder. Its status is that of
        `trial_status.parse_status`.
    """
    return _FolderReader(folder).read_record()


def read_trial_folders(folders: Sequence[str]) -> Iterator[TrialRecord | None]:
    """Yield the records of trials on ``gs://``, with many files read in parallel.

    Raises:
        UserError: If a file cannot be read because of missing permissions or the network.
    """
    for first in range(0, len(folders), _TRIALS_AT_A_TIME):
        some = folders[first:first + _TRIALS_AT_A_TIME]
        texts = trial_status.read_files(some, _FILES, None)
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
        self._unreadable: dict[str, str] = {}
        if texts is None:
            texts = trial_status.read_files([folder], _FILES, self._unreadable)
        self._texts = texts
        self._broken = list(self._unreadable.values())[:1]
        if (more := len(self._unreadable) - 1) > 0:
            # Usually the folder is another user's, and every file has the same reason.
            self._broken.append(f"Neither can {count_noun(more, 'other file')} of the trial.")

    def read_record(self) -> TrialRecord | None:
        found = trial_status.parse_status(self._folder, self._texts, self._unreadable)
        identified = any(self._texts[f"{self._folder}/{name}"] is not None for name in WATCHED[:3])
        if not identified and not self._broken:
            return None
        name = self._folder.rpartition("/")[2]
        trial_id, trial = self._parsed(
            "trial.json", trial_files.parse_trial, (name, Trial((), (), 0, "")))
        has_trial = self._texts[f"{self._folder}/trial.json"] is not None
        place = self._parsed("sweep.json", trial_files.parse_place, {})
        starts = self._parsed("attempts.jsonl", trial_files.parse_starts, [])
        result = self._parsed("result.json", trial_files.parse_result, {})
        last_start = starts[-1] if starts else {}
        record = TrialRecord(
            trial=trial_id,
            sweep=place.get("sweep") or "",
            arm=place.get("arm") or trial.arm,
            baseline=place.get("baseline") or False,
            seed=trial.seed if has_trial and trial.arm else None,
            levels=place.get("levels") or {},
            status=found.status,
            cause=found.cause,
            step=result.get("step"),
            steps=last_start.get("steps"),
            attempts=_attempts(starts, found.attempt),
            train_seconds=result.get("train_seconds"),
            dataset=result.get("dataset"),
            images=result.get("images"),
            dataset_images=result.get("dataset_images"),
            commit=last_start.get("commit"),
            platform="; ".join(provenance.list_platforms(starts)),
            continued_from=provenance.continued_from(starts),
            folder=self._folder,
            setup=describe_setup(trial),
            starts=_code_fields(starts),
            metrics=trial_files.result_metrics(result))
        if found.status != "finished":
            record = self._unfinished(record, starts)
        return record._replace(broken=" ".join(dict.fromkeys(self._broken)))

    def _parsed(self, name: str, parse: Callable[[bytes, str], Any], missing: Any) -> Any:  # noqa: ANN401
        path = f"{self._folder}/{name}"
        text = self._texts[path]
        try:
            return missing if text is None else parse(text, path)
        except UserError as error:
            self._broken.append(str(error))
            return missing

    def _last_metrics(self) -> Mapping[str, Any]:
        path = f"{self._folder}/{_METRICS}"
        try:
            text = self._texts[path] if path in self._texts else file_io.read_tail(path, TAIL)
            return parse_last_line(text, path)
        except UserError as error:
            if not (self._unreadable and isinstance(error, StorageError)):
                self._broken.append(str(error))
            return {}

    def _unfinished(self, record: TrialRecord, starts: Sequence[Mapping[str, Any]]) -> TrialRecord:
        """Add the step, and the status if the trial has no supervisor."""
        last_metrics = self._last_metrics()
        record = record._replace(step=last_metrics.get("step"))
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
    trained = sum(start.get("mode") in _TRAINING and not start.get("trial") for start in starts)
    return max(trained, last.number if last and last.role == "train" else 0)


def _code_fields(starts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that tell with which code a trial ran; none if any start lacks one."""
    if any(start.get(name) is None for start in starts for name in provenance.CODE_FIELDS):
        return []
    # Earlier versions did not record gin files.
    names = (*provenance.CODE_FIELDS, "gin_files")
    return [{name: start.get(name) for name in names} for start in starts]
