"""Evaluate a finished trial again: with other boxes, another class split or other images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from deepmac_ablate.data import drawing
from deepmac_ablate.data.class_agreement import check_agreement
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import overlays
from deepmac_ablate.evaluation.artifacts import per_class_file
from deepmac_ablate.evaluation.box_noise_plot import plot_box_noise
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.evaluation.model_classes import trial_classes
from deepmac_ablate.storage import file_io
from deepmac_ablate.training.checkpointing import restore_latest
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Limit for the name of a folder, in bytes, on all common file systems.
_LONGEST_NAME = 255


def reevaluate(
    workdir: str,
    box_sources: Sequence[str] | None,
    split: str | None,
    data: str | None,
    draw: int,
    output: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate the last checkpoint of a trial.

    Args:
        workdir: The trial's folder. Only the output below is written there.
        box_sources: The box sources to predict masks in, see `Evaluation`; None for the trial's. If
            some are jittered, a plot shows mask IoU over the jitter ratio.
        split: The class split whose classes count as seen; None for the trial's.
        data: Prefix of the dataset to evaluate on; None for the trial's.
        draw: The number of images to draw the predictions on, see `overlays.choose_images`.
        output: The folder to write to; None for a folder in `workdir` named after the options
            above.

    Returns:
        The numbers as in result.json, and the paths of the files written.

    Raises:
        UserError: If there is no trial or checkpoint in `workdir`, or an option does not fit.
    """
    files = TrialWorkdir(workdir)
    trial = files.read_trial()
    if trial is None:
        raise UserError(f"There is no trial in {workdir}: trial.json is missing.")
    prepared = prepare_model(trial)
    # Not by adding bindings: the trial's bindings that they override would be without effect.
    evaluation = Evaluation(
        prepared.evaluation.data if data is None
        else EvaluationData(data, prepared.evaluation.data.batch_size),
        box_sources or prepared.evaluation.box_sources,
        noise_seed=prepared.evaluation.noise_seed)
    classes = trial_classes(
        files, prepared.training.data.prefix, prepared.training.seen_classes,
        prepared.model.num_classes)
    check_agreement(
        f"the trial in {workdir}", classes.names, evaluation.data.prefix,
        evaluation.data.info.names)
    step = restore_latest(prepared, files)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {files.checkpoints}.")
    seen = split if split is not None else prepared.training.seen_classes
    name = "-".join([evaluation.data.info.name, *(box_sources or ()), *([split] if split else ())])
    if len(name) > _LONGEST_NAME and not output:
        raise UserError(
            f"A folder named after these options would need a name of {len(name)} characters, but "
            f"at most {_LONGEST_NAME} are possible; choose a folder with --output.")
    evaluated = evaluation.evaluate(prepared.model, prepared.strategy, seen, classes)

    folder = epath.Path(output) if output else files.path / "evaluations" / name
    folder.mkdir(parents=True, exist_ok=True)
    result = {"step": step, **evaluation.dataset_identity(), **evaluated.scalars}
    file_io.write(folder / "per_class.csv", per_class_file(evaluated.per_class))
    file_io.write(folder / "result.json", json.dumps(result, indent=2, sort_keys=True) + "\n")
    written = [folder / "result.json", folder / "per_class.csv"]
    plot = plot_box_noise(evaluated.scalars)
    if plot is not None:
        file_io.write(folder / "box_noise.png", plot)
        written.append(folder / "box_noise.png")
    if draw:
        pictures = overlays.draw_overlays(
            evaluation.data, evaluated.ground_truth, evaluated.predictions, seen, draw)
        sheet = drawing.contact_sheet(list(pictures.values()), columns=1)
        file_io.write(folder / "predictions.png", overlays.to_png(sheet))
        written.append(folder / "predictions.png")
    return result, [str(path) for path in written]
