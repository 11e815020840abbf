"""The folder of one trial: plain files, each with one writer, readable with ``cat`` for years.

::

    trial.json  config.gin        before step 0
    attempts.jsonl                at each start, a line by whoever trains or evaluates
    operative_config.gin          after the first step
    metrics.jsonl                 during, by whoever trains
    checkpoints/                  during
    evaluations.jsonl             during, by whoever evaluates, maybe another process
    overlays/                     at the end, pictures of predicted masks
    per_class.csv  instances.csv.gz  masks.json.gz  matches/
                                  at the end, see `evaluation_files`
    result.json                   the last one, as it says that all is there
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import from_json, from_json_lines, to_json
from deepmac_ablate.trial.metrics_log import StepLog
from deepmac_ablate.trial.trial import Trial

# All that an evaluation may leave beside its numbers.
_EVALUATION = frozenset({
    "per_class.csv", "instances.csv.gz", "masks.json.gz", "matches/detections_mask.npz",
    "matches/detections_box.npz", "matches/groundtruth_mask.npz"})


class TrialWorkdir:
    """The files of one trial, on a disk or on ``gs://``.

    Making one touches nothing; `start` does, and every reader answers for an empty folder too.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        checkpoints: Where checkpoints go; theirs are the only files that are not written here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = epath.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self._metrics = StepLog(self.path / "metrics.jsonl")
        self._evaluations = StepLog(self.path / "evaluations.jsonl")

    def start(self, trial: Trial, trial_id: str, config: str) -> None:
        """Claim the folder for a trial, or take it up again, before its first step.

        Args:
            trial: Written to trial.json.
            trial_id: Its id. A trial of the same id is the same trial, whatever its arm is called
                and however it is evaluated.
            config: What was asked for, as gin text, written to config.gin.

        Raises:
            UserError: If another trial is there already, or if the folder cannot be written.
        """
        try:
            self.describe(trial, trial_id)
            storage.write(self.path / "config.gin", config)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def describe(self, trial: Trial, trial_id: str) -> None:
        """Claim the folder for a trial that somebody else will run: `start` without its config.

        Raises:
            UserError: If another trial is there already.
            OSError: If the folder cannot be written.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        there = self._read_trial_file()
        if there and there[0] != trial_id:
            raise UserError(
                f"The workdir {self.path} holds another trial: {_differences(there[1], trial)};"
                " choose another workdir.")
        fields = {"id": trial_id, **json.loads(trial.to_json())}
        storage.write(self.path / "trial.json", to_json(fields, indent=2) + "\n")

    def append_attempt(self, attempt: Mapping[str, Any]) -> None:
        """Append one line to attempts.jsonl, at the start of a process that trains or evaluates.

        Args:
            attempt: The start's ``mode``, the ``step`` it goes on from, the ``steps`` of the trial,
                and all of `provenance.describe`. The time is added.
        """
        line = {"time": time.time(), **attempt}
        storage.append_line(self.path / "attempts.jsonl", to_json(line))

    def write_operative_config(self, text: str) -> None:
        """Write what took effect, as gin text, to operative_config.gin."""
        storage.write(self.path / "operative_config.gin", text)

    def append_metrics(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl.

        Args:
            step: Larger than that of every line before; see `drop_metrics_after`.
            scalars: Numbers of Python or numpy by name. What is not finite is stored as null.

        Raises:
            ValueError: If the step or a name is there already.
        """
        self._metrics.append(step, scalars)

    def append_evaluation(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append one line to evaluations.jsonl, in place of what was noted from this step on.

        Args:
            step: Of the evaluated checkpoint; an evaluator that starts again may repeat one.
            scalars: As those of metrics.
        """
        self._evaluations.drop_after(step - 1)
        self._evaluations.append(step, scalars)

    def drop_metrics_after(self, step: int) -> None:
        """Forget the metrics of later steps, which a run resumed from `step` will do again."""
        self._metrics.drop_after(step)

    def write_evaluation(self, files: Mapping[str, bytes]) -> None:
        """Write what is kept of the evaluation, in place of what an earlier one kept.

        Args:
            files: Content by name, a name in a folder as "matches/detections_mask.npz".
        """
        for name in _EVALUATION - files.keys():
            (self.path / name).unlink(missing_ok=True)
        for name, content in files.items():
            (self.path / name).parent.mkdir(exist_ok=True)
            storage.write(self.path / name, content)

    def write_overlays(self, pictures: Mapping[int, bytes]) -> None:
        """Write overlays/<image id>.png in place of what an earlier evaluation drew.

        Args:
            pictures: PNG files by image id.
        """
        folder = self.path / "overlays"
        folder.mkdir(exist_ok=True)
        wanted = {f"{image_id}.png": data for image_id, data in pictures.items()}
        for path in folder.glob("*.png"):
            if path.name not in wanted:
                path.unlink()
        for name, data in wanted.items():
            storage.write(folder / name, data)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, the last file: from then on the trial is finished.

        Args:
            result: Numbers of Python or numpy, strings, and lists and mappings of such. What is not
                finite is stored as null.
        """
        storage.write(self.path / "result.json", to_json(result, indent=2) + "\n")

    def is_finished(self) -> bool:
        """Whether there is a result.

        Raises:
            UserError: If result.json is broken.
        """
        return self.read_result() is not None

    def read_trial(self) -> Trial | None:
        """Return the trial, or None where none has been started.

        Raises:
            UserError: If trial.json is broken.
        """
        there = self._read_trial_file()
        return there[1] if there else None

    def read_trial_id(self) -> str | None:
        """Return the id of the trial, or None where none has been started.

        Raises:
            UserError: If trial.json is broken.
        """
        there = self._read_trial_file()
        return there[0] if there else None

    def read_attempts(self) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl, the first start first, without an unfinished one.

        Raises:
            UserError: If a line is broken.
        """
        path = self.path / "attempts.jsonl"
        return from_json_lines(storage.read(path), str(path))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl by increasing step, without an unfinished last one.

        Raises:
            UserError: If another line is broken.
        """
        return self._metrics.read()

    def read_evaluations(self) -> list[dict[str, Any]]:
        """Return the lines of evaluations.jsonl as `read_metrics` does those of metrics.jsonl."""
        return self._evaluations.read()

    def read_result(self) -> dict[str, Any] | None:
        """Return the result, or None where the trial is not finished.

        Raises:
            UserError: If result.json is broken.
        """
        path = self.path / "result.json"
        text = storage.read(path)
        return None if text is None else from_json(text, str(path))

    def read_overlays(self) -> dict[str, bytes]:
        """Return PNG files by image id, sorted; none where nothing was drawn."""
        paths = sorted((self.path / "overlays").glob("*.png"))
        return {path.stem: path.read_bytes() for path in paths}

    def _read_trial_file(self) -> tuple[str, Trial] | None:
        path = self.path / "trial.json"
        text = storage.read(path)
        if text is None:
            return None
        fields = from_json(text, str(path))
        if not isinstance(trial_id := fields.pop("id", None), str):
            raise UserError(f"{path} has no field 'id'.")
        return trial_id, Trial.from_json(json.dumps(fields), str(path))


def _differences(there: Trial, here: Trial) -> str:
    """Name the fields in which two trials differ, the label left out, with their values."""
    different = []
    for field in ("gin_files", "bindings", "seed"):
        old, new = getattr(there, field), getattr(here, field)
        if isinstance(old, tuple):
            pairs = itertools.zip_longest(old, new, fillvalue="nothing")
            old, new = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
        if old != new:
            different.append(f"its {field} has {old!r} where this one has {new!r}")
    if not different:
        return "the gin files or the dataset have changed since it was started"
    return " and ".join(different)
