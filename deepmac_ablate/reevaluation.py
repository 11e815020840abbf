"""A finished trial evaluated again: other boxes, other roles of the classes, other images."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate import class_splits, storage
from deepmac_ablate.data import drawing
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import Evaluation, Numbers
from deepmac_ablate.metrics import noise_plot
from deepmac_ablate.metrics.ground_truth import load_annotations
from deepmac_ablate.session import prepare_model, restore_model
from deepmac_ablate.workdir import TrialWorkdir

# What is drawn of the detections: the ones a person would look at.
_LEAST_SCORE = 0.3
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
    """Evaluates the last checkpoint of a trial.

    Args:
        workdir: of the trial; nothing in it is changed but the output below.
        box_sources: where the boxes come from that masks are predicted in, see `Evaluation`; if
            some are jittered, a picture shows mask IoU over the ratio. None: as the trial.
        split: the classes to count as seen; None: those of the trial.
        data: prefix of the data set to evaluate on; None: the trial's.
        draw: on how many images to draw the predictions, chosen at random but always the same.
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
    step = restore_model(prepared, files)
    if step is None:
        raise UserError(f"There is no checkpoint to evaluate in {files.checkpoints}.")
    seen = split if split is not None else prepared.training.seen_classes
    name = "-".join([evaluation.data.info.name, *(box_sources or ()), *([split] if split else ())])
    if len(name) > _LONGEST_NAME and not output:
        raise UserError(f"A folder named after {len(name)} letters of options is too long a name "
                        "for a disk; say with --output where files shall go.")
    numbers = evaluation.run(prepared.model, prepared.strategy, seen)

    folder = epath.Path(output) if output else files.path / "evaluations" / name
    folder.mkdir(parents=True, exist_ok=True)
    result = {"step": step, **numbers.scalars}
    storage.write(folder / "per_class.csv", numbers.per_class.to_csv(index=False))
    storage.write(folder / "result.json", json.dumps(result, indent=2, sort_keys=True) + "\n")
    written = [folder / "result.json", folder / "per_class.csv"]
    curves = noise_plot.draw(numbers.scalars)
    if curves is not None:
        storage.write(folder / "box_noise.png", curves)
        written.append(folder / "box_noise.png")
    if draw:
        written.append(_draw(evaluation.data, numbers, seen, draw, folder))
    return result, [str(path) for path in written]


def _draw(
    data: EvaluationData,
    numbers: Numbers,
    seen: class_splits.Split,
    count: int,
    folder: epath.Path,
) -> epath.Path:
    """Draws annotations beside predictions; returns the sheet's path."""
    truth = load_annotations(annotations_path(data.prefix))
    names = {category.id: category.name for category in data.info.categories}
    roles = class_splits.roles(seen, data.info.categories)
    ids = sorted(image["id"] for image in truth["images"])
    chosen = random.Random(0).sample(ids, min(count, len(ids)))
    pictures: list[Image.Image] = []
    captions: list[str] = []
    sources = {
        "annotations": [_with_mask(a, truth) for a in truth["annotations"]
                        if a["image_id"] in chosen and not a.get("iscrowd", 0)],
        **{name if name == "detections" else f"masks in {name} boxes": results
           for name, results in numbers.predictions.items()},
    }
    for image_id, pixels in data.images(chosen):
        for source, results in sources.items():
            shown = [r for r in results if r["image_id"] == image_id
                     and r.get("score", 1.0) >= _LEAST_SCORE]
            pictures.append(drawing.draw_instances(
                pixels,
                np.array([_yxyx(r["bbox"]) for r in shown]).reshape(-1, 4),
                np.array([rle.decode(r["segmentation"]) for r in shown]).reshape(
                    -1, *pixels.shape[:2]),
                [names.get(r["category_id"], str(r["category_id"])) for r in shown],
                [roles.get(r["category_id"]) for r in shown],
                [r["score"] for r in shown] if source == "detections" else None,
            ))
            captions.append(f"{image_id}: {source}")
    sheet = drawing.contact_sheet(pictures, len(sources), captions)
    path = folder / "predictions.png"
    with path.open("wb") as file:
        sheet.save(file, format="PNG")
    return path


def _with_mask(annotation: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an annotation whose segmentation is RLE."""
    image = next(i for i in truth["images"] if i["id"] == annotation["image_id"])
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        codes = rle.frPyObjects(segmentation, image["height"], image["width"])
        segmentation = rle.merge(codes) if isinstance(codes, list) else codes
    return {**annotation, "segmentation": segmentation}


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
