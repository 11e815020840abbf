"""Evaluate finished trials again: with other boxes, metrics, class splits or images."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.data import drawing
from deepmac_ablate.data.class_agreement import check_agreement
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.data.trial_dataset import find_trial_dataset
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import overlays
from deepmac_ablate.evaluation.artifacts import table_files
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.evaluation.model_classes import trial_classes
from deepmac_ablate.storage import file_io
from deepmac_ablate.training.checkpointing import restore_latest, saved_steps
from deepmac_ablate.training.session import PreparedModel, prepare_model
from deepmac_ablate.trial import trial_files
from deepmac_ablate.trial.code_fingerprint import code_fingerprint
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Limit for the name of a folder, in bytes, on all common file systems.
_LONGEST_NAME = 255


class EvaluationRequest(NamedTuple):
    """Settings of another evaluation of finished trials.

    Attributes:
        box_sources: The box sources to predict masks in, see `Evaluation`; none for the trial's.
        split: The class split whose classes count as seen; None for the trial's.
        data: Prefix of the dataset to evaluate on; None for the trial's.
        draw: The number of images to draw the predictions on, see `overlays.choose_images`.
        metrics: Gin files that bind `Evaluation.metrics`; none for the trial's metrics.
        images: The number of images to evaluate on, see `Evaluation`; 0 for all, None for that of
            the trial, or for all of another dataset.
    """

    box_sources: Sequence[str] = ()
    split: str | None = None
    data: str | None = None
    draw: int = 0
    metrics: tuple[str, ...] = ()
    images: int | None = None

    def check_metrics(self) -> None:
        """Check the gin files of metrics, which cannot set anything else.

        Raises:
            UserError: If a file is missing or broken, or has a binding of something else.
        """
        bound = bindings.read(self.metrics, ()).bindings
        metrics = [each for each in bound if each.name.endswith("Evaluation.metrics")]
        if self.metrics and not metrics:
            raise UserError(
                f"{' and '.join(self.metrics)} must bind Evaluation.metrics, such as "
                "'Evaluation.metrics = [@PixelRecall()]'.")
        reached = bindings.reachable_bindings(bound, "Evaluation")
        for binding in bound:
            of_metrics = binding in metrics or binding.short_selector != "Evaluation"
            if not (binding.is_macro or (of_metrics and binding.name in reached)):
                raise UserError(
                    f"{binding.place} is not a setting of a metric; gin files for `evaluate` bind "
                    "Evaluation.metrics and parameters of these metrics, and nothing else.")

    def metrics_code(self) -> str | None:
        """Return a hash of the code and settings of other metrics; None if there are none."""
        if not self.metrics:
            return None
        return code_fingerprint(
            *bindings.imported_modules(self.metrics), gin_files=self.metrics)

    def name(self, dataset: str) -> str:
        """Return the name of the folder of the results, for a dataset as ``name@fingerprint``.

        Raises:
            UserError: If it would be too long.
        """
        split = [self.split] if self.split else []
        metrics = [Path(file).stem for file in self.metrics]
        images = [] if self.images is None else [f"{self.images or 'all'}_images"]
        name = "-".join(
            [dataset.partition("@")[0], *self.box_sources, *split, *metrics, *images])
        if len(name) > _LONGEST_NAME:
            raise UserError(
                f"A folder named after these options would need a name of {len(name)} characters, "
                f"but at most {_LONGEST_NAME} are possible; choose a folder with --output.")
        return name

    def find_dataset(self, trial: TrialWorkdir) -> str:
        """Return the dataset that a finished trial is evaluated on, as ``name@fingerprint``.

        Raises:
            UserError: If there is no dataset at `data`.
        """
        if self.data is not None:
            return DatasetInfo.load(self.data).identity
        return (trial.read_result() or {}).get("dataset") or ""

    def is_done(self, trial: TrialWorkdir) -> bool:
        """Return whether a finished trial has these results, of its last checkpoint.

        Raises:
            UserError: If there is no dataset at `data`.
        """
        dataset = self.find_dataset(trial)
        path = trial.path / "evaluations" / self.name(dataset) / "result.json"
        try:
            text = file_io.read(path)
            found = {} if text is None else trial_files.parse_result(text, str(path))
        except UserError:
            return False
        return (found.get("step"), found.get("dataset"), found.get("metrics_code")) == (
            max(saved_steps(trial), default=None), dataset, self.metrics_code())


class Reevaluator:
    """Evaluates finished trials again; seeds of an arm share a model and its traced programs.

    Args:
        request: The settings of the evaluation.
    """

    def __init__(self, request: EvaluationRequest) -> None:
        self._request = request
        self._last: tuple[Any, PreparedModel, Evaluation] | None = None

    def evaluate(
        self, workdir: str, output: str | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Evaluate the last checkpoint of a trial.

        Args:
            workdir: The trial's folder. Only the output is written there.
            output: The folder to write to; None for one in the trial's `evaluations`, see
                `EvaluationRequest.name`.

        Returns:
            The numbers as in result.json, and the paths of the files written.

        Raises:
            UserError: If there is no trial or checkpoint in `workdir`, or an option does not fit.
        """
        request, files = self._request, TrialWorkdir(workdir)
        trial = files.read_trial()
        if trial is None:
            raise UserError(f"There is no trial in {workdir}: trial.json is missing.")
        prepared, evaluation = self._prepare(trial, files)
        classes = trial_classes(
            files, prepared.training.data.prefix, prepared.training.seen_classes,
            prepared.model.num_classes)
        check_agreement(
            f"the trial in {workdir}", classes.names, evaluation.data.prefix,
            evaluation.data.info.names)
        step = restore_latest(prepared, files)
        if step is None:
            raise UserError(f"There is no checkpoint to evaluate in {files.checkpoints}.")
        folder = epath.Path(output) if output else (
            files.path / "evaluations" / request.name(evaluation.data.info.identity))
        seen = request.split or prepared.training.seen_classes
        evaluated = evaluation.evaluate(prepared.model, prepared.strategy, seen, classes)
        contents = table_files(evaluated)
        if request.draw:
            pictures = overlays.draw_overlays(
                evaluation.data, evaluated.ground_truth, evaluated.predictions, seen, request.draw)
            sheet = drawing.contact_sheet(list(pictures.values()), columns=1)
            contents["predictions.png"] = overlays.to_png(sheet)
        result = {"step": step, **evaluation.describe_images(evaluated), **evaluated.scalars}
        if code := request.metrics_code():
            result["metrics_code"] = code
        folder.mkdir(parents=True, exist_ok=True)
        # The numbers come last, as they mark the evaluation as complete.
        contents["result.json"] = f"{json.dumps(result, indent=2, sort_keys=True)}\n".encode()
        for name, content in contents.items():
            file_io.write(folder / name, content)
        return result, [str(folder / name) for name in ("result.json", *list(contents)[:-1])]

    def _prepare(
        self, trial: Trial, files: TrialWorkdir
    ) -> tuple[PreparedModel, Evaluation]:
        key = (trial.gin_files, trial.bindings)
        if self._last is None or self._last[0] != key:
            # The memory of one model may be needed for the next.
            self._last = None
            request = self._request
            # The last binding wins.
            metrics = [f"include {name!r}" for name in request.metrics]
            prepared = prepare_model(
                dataclasses.replace(trial, bindings=(*trial.bindings, *metrics)))
            own = prepared.evaluation
            data = request.data or find_trial_dataset(
                own.data.prefix, files, _evaluated_dataset(files))
            images = request.images
            if images is None and request.data is None:
                images = own.images
            # Not by adding bindings: those of the trial that they override would have no effect.
            evaluation = Evaluation(
                EvaluationData(data, own.data.batch_size), request.box_sources or own.box_sources,
                noise_seed=own.noise_seed, metrics=own.metrics, images=images or None)
            self._last = key, prepared, evaluation
        return self._last[1:]


def _evaluated_dataset(files: TrialWorkdir) -> str | None:
    """Return the identity of the dataset that the trial was evaluated on; None if unknown."""
    with contextlib.suppress(UserError):
        return (files.read_result() or {}).get("dataset")
    return None
