"""The folder of one trial: plain files, each with a single writer.

::

    trial.json config.gin classes.json   before step 0
    attempts.jsonl                a line at each start of a trainer or evaluator
    operative_config.gin          after the first step
    metrics.jsonl  checkpoints/   during training, by the trainer
    evaluations.jsonl             during training, by the evaluator, maybe another process
    progress.json                 during an evaluation, by the evaluator
    overlays/                     at the end, pictures of predicted masks
    per_class.csv  instances.csv.gz  masks.json.gz  matches/
                                  at the end, see `evaluation.artifacts`
    result.json                   last, as it marks the trial as finished
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io, line_files
from deepmac_ablate.storage.disk import StorageError
from deepmac_ablate.storage.strict_json import from_json, to_json
from deepmac_ablate.trial import trial_files
from deepmac_ablate.trial.metrics_log import StepLog
from deepmac_ablate.trial.trial import Trial, describe_differences

# The files that an evaluation may write beside result.json.
_EVALUATION = frozenset({
    "per_class.csv", "instances.csv.gz", "masks.json.gz", "matches/detections_mask.npz",
    "matches/detections_box.npz", "matches/groundtruth_mask.npz"})


class TrialWorkdir:
    """The files of one trial, on a disk or on ``gs://``.

    Creating the object touches no file; `start` does. Readers accept an empty folder, too.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        checkpoints: The folder of checkpoints, the only files that this class does not write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = epath.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self._metrics = StepLog(self.path / "metrics.jsonl")
        self._evaluations = StepLog(self.path / "evaluations.jsonl", at_once=True)

    def start(
        self, trial: Trial, trial_id: str, config: str,
        classes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Claim the folder for a trial, new or to be resumed, before its first step.

        A broken result.json becomes result.json.broken.

        Args:
            trial: The trial, written to trial.json.
            trial_id: The trial's id. Trials of the same id are the same, even if their arms have
                different labels or they are evaluated differently.
            config: The trial's configuration as gin text, written to config.gin.
            classes: The classes of the model, written to classes.json; see `ModelClasses`.
                Empty if they are unknown.

        Raises:
            UserError: If the folder holds another trial, or cannot be written.
        """
        try:
            self.write_trial(trial, trial_id)
            file_io.write(self.path / "config.gin", config)
            if classes:
                text = to_json({"classes": classes}, indent=1) + "\n"
                file_io.write(self.path / "classes.json", text)
            result = self.path / "result.json"
            if result.exists() and not self.is_finished():
                result.replace(self.path / "result.json.broken")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def write_trial(self, trial: Trial, trial_id: str) -> None:
        """Write trial.json, to claim the folder for a trial that another process will start.

        Raises:
            UserError: If the folder holds another trial.
            OSError: If the folder cannot be written.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.check_trial(trial, trial_id)
        fields = {"id": trial_id, **json.loads(trial.to_json())}
        file_io.write(self.path / "trial.json", to_json(fields, indent=2) + "\n")

    def check_trial(self, trial: Trial, trial_id: str) -> None:
        """Raise a UserError if the folder holds another trial."""
        try:
            existing = self._read_trial_file()
        except StorageError:
            raise
        except UserError:
            # A sweep names the folder after the trial, so that nothing else can belong there.
            if self.path.name != trial_id:
                raise
            existing = None
        if existing and existing[0] != trial_id:
            raise UserError(
                f"The workdir {self.path} holds another trial: "
                f"{describe_differences(existing[1], trial)}; choose another workdir.")

    def append_attempt(self, attempt: Mapping[str, Any]) -> None:
        """Append one line to attempts.jsonl, at the start of a process that trains or evaluates.

        Args:
            attempt: The ``mode``, the ``step`` from which the attempt continues, the ``steps`` of
                the trial, and the fields of `provenance.describe_code`. The time is added.
        """
        line_files.append_line(
            self.path / "attempts.jsonl", to_json({"time": time.time(), **attempt}), at_once=True)

    def write_operative_config(self, text: str) -> None:
        """Write the bindings that took effect, as gin text, to operative_config.gin."""
        file_io.write(self.path / "operative_config.gin", text)

    def append_metrics(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl.

        Args:
            step: The step, larger than that of every line before; see `drop_metrics_after`.
            scalars: Python or numpy numbers by name; NaN and infinity are stored as null.

        Raises:
            ValueError: If the step is not larger, or a name is reserved.
        """
        self._metrics.append(step, scalars)

    def append_evaluation(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append one line to evaluations.jsonl, replacing lines of this and later steps.

        Args:
            step: The step of the evaluated checkpoint; a restarted evaluator may repeat one.
            scalars: Python or numpy numbers by name; NaN and infinity are stored as null.
        """
        self._evaluations.drop_after(step - 1)
        self._evaluations.append(step, scalars)

    def drop_metrics_after(self, step: int) -> None:
        """Delete the metrics of later steps, which a run resumed from `step` will repeat."""
        self._metrics.drop_after(step)

    def complete_metrics(self) -> None:
        """Make metrics.jsonl hold all lines, at the end of an attempt; see `line_files`."""
        self._metrics.complete()

    def copy_metrics(self, step: int) -> epath.Path:
        """Copy metrics.jsonl to a file that is named after its last step, and return its path."""
        copy = self.path / f"metrics-until-{step}.jsonl"
        line_files.replace_lines(copy, line_files.read_lines(self.path / "metrics.jsonl"))
        return copy

    def write_evaluation(self, files: Mapping[str, bytes]) -> None:
        """Write the files of an evaluation, replacing those of an earlier one.

        Args:
            files: Content by relative path, such as "matches/detections_mask.npz".
        """
        for name in _EVALUATION - files.keys():
            (self.path / name).unlink(missing_ok=True)
        for name, content in files.items():
            (self.path / name).parent.mkdir(exist_ok=True)
            file_io.write(self.path / name, content)

    def write_overlays(self, pictures: Mapping[int, bytes]) -> None:
        """Write overlays/<image id>.png, replacing the pictures of an earlier evaluation.

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
            file_io.write(folder / name, data)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, the last file, which marks the trial as finished.

        Args:
            result: Python or numpy numbers, strings, and lists and mappings of these; NaN and
                infinity are stored as null.
        """
        file_io.write(self.path / "result.json", to_json(result, indent=2) + "\n")

    def is_finished(self) -> bool:
        """Return whether there is a valid result.

        Raises:
            StorageError: If result.json cannot be read.
        """
        try:
            return self.read_result() is not None
        except StorageError:
            raise
        except UserError:
            # Running the trial again writes a new one.
            return False

    def read_trial(self) -> Trial | None:
        """Return the trial, or None if there is no trial.json.

        Raises:
            UserError: If trial.json is broken.
        """
        existing = self._read_trial_file()
        return existing[1] if existing else None

    def read_trial_id(self) -> str | None:
        """Return the id of the trial, or None if there is no trial.json.

        Raises:
            UserError: If trial.json is broken.
        """
        existing = self._read_trial_file()
        return existing[0] if existing else None

    def read_classes(self) -> dict[str, Any] | None:
        """Return the content of classes.json, or None if there is none.

        Raises:
            UserError: If classes.json is broken.
        """
        path = self.path / "classes.json"
        text = file_io.read(path)
        return None if text is None else from_json(text, str(path))

    def read_attempts(self) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl in order, without an incomplete last one.

        Raises:
            UserError: If any other line is broken.
        """
        path = self.path / "attempts.jsonl"
        return trial_files.parse_starts(file_io.read(path), str(path))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl by increasing step, without an incomplete last one.

        Raises:
            UserError: If any other line is broken.
        """
        return self._metrics.read()

    def read_evaluations(self) -> list[dict[str, Any]]:
        """Return the lines of evaluations.jsonl, as `read_metrics` does for metrics.jsonl."""
        return self._evaluations.read()

    def read_result(self) -> dict[str, Any] | None:
        """Return the result, or None if the trial is not finished.

        Raises:
            UserError: If result.json is broken.
        """
        path = self.path / "result.json"
        text = file_io.read(path)
        return None if text is None else trial_files.parse_result(text, str(path))

    def read_overlays(self) -> dict[str, bytes]:
        """Return PNG files by image id, sorted; empty if nothing was drawn."""
        paths = sorted((self.path / "overlays").glob("*.png"))
        return {path.stem: path.read_bytes() for path in paths}

    def _read_trial_file(self) -> tuple[str, Trial] | None:
        path = self.path / "trial.json"
        text = file_io.read(path)
        return None if text is None else trial_files.parse_trial(text, str(path))
