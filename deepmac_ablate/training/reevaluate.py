"""A finished trial evaluated again: other boxes, other roles of the classes, other images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.data import drawing
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import box_noise_plot, overlays
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.training.checkpointing import restore
from deepmac_ablate.training.session import prepare_model
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# Bytes in the name of a folder, on all disks in use.
_LONGEST_NAME = 255


def run(
    workdir: str,
    box_sources: Sequence[str] | None,
    split: str | None,
    data: str | None,
    draw: int,
    output: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate the last checkpoint of a trial.

    Args:
        workdir: of the trial; nothing in it is changed but the output below.
        box_sources: where the boxes come from that masks are predicted in, see `Evaluation`; if
            some are jittered, a picture shows mask IoU over the ratio. None: as the trial.
        split: the classes to count as seen; None: those of the trial.
        data: prefix of the dataset to evaluate on; None: the trial's.
        draw: on how many images to draw the predictions, see `overlays.choose_images`.
        output: where files go; None: a folder in `workdir` that names all of the above.

    Returns:
        The numbers as in result.json, and the files written.

    Raises:
        UserError: if there is no trial or checkpoint in `workdir`, or an option does not fit.
    """
    files = TrialWorkdir(workdir)
    trial = files.read_trial()
    if trial is None:
        raise UserError(f"There is no trial in {workdir}: trial.json is missing.")
    prepared = prepare_model(trial)
    # Not by further bindings: those of the trial's that they replace would have no effect.
    evaluation = Evaluation(
        prepared.evaluation.data if data is None
        else EvaluationData(data, prepared.evaluation.data.batch_size),
        box_sources or prepared.evaluation.box_sources,
        noise_seed=prepared.evaluation.noise_seed)
    step = restore(prepared, files)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {files.checkpoints}.")
    seen = split if split is not None else prepared.training.seen_classes
    name = "-".join([evaluation.data.info.name, *(box_sources or ()), *([split] if split else ())])
    if len(name) > _LONGEST_NAME and not output:
        raise UserError(f"A folder named after {len(name)} letters of options is too long a name "
                        "for a disk; say with --output where files shall go.")
    evaluated = evaluation.run(prepared.model, prepared.strategy, seen)

    folder = epath.Path(output) if output else files.path / "evaluations" / name
    folder.mkdir(parents=True, exist_ok=True)
    result = {"step": step, **evaluation.dataset_identity(), **evaluated.scalars}
    storage.write(folder / "per_class.csv", evaluated.per_class.to_csv(index=False))
    storage.write(folder / "result.json", json.dumps(result, indent=2, sort_keys=True) + "\n")
    written = [folder / "result.json", folder / "per_class.csv"]
    curves = box_noise_plot.draw(evaluated.scalars)
    if curves is not None:
        storage.write(folder / "box_noise.png", curves)
        written.append(folder / "box_noise.png")
    if draw:
        pictures = overlays.draw_overlays(
            evaluation.data, evaluated.ground_truth, evaluated.predictions, seen, draw)
        sheet = drawing.contact_sheet(list(pictures.values()), columns=1)
        storage.write(folder / "predictions.png", overlays.to_png(sheet))
        written.append(folder / "predictions.png")
    return result, [str(path) for path in written]
