"""Workdir of a sweep after training: two axes of two levels, three seeds, and masks."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from deepmac_ablate.data import masks
from deepmac_ablate.data.shapes import scenes
from deepmac_ablate.data.shapes.outlines import CLASSES
from deepmac_ablate.evaluation.metrics import mask_iou, summary
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from deepmac_ablate.evaluation.reference_masks import reference_ious
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial import Trial

STEPS = 600
IMAGES = 12
SIZE = 128
SEEDS = 3
MASK_SIZE = 28
CAUSE = "The loss is nan between steps 300 and 310; a lower learning rate may help."

_RECIPE = """\
Training.model = @Model()
Training.steps = 600
Model.head = @Plain()
Model.boxes = 'proposals'
Plain.depth = 4
"""
_HEADS = {"default": (), "hourglass20": ("Model.head = @Deep()", "Deep.depth = 20")}
_BOXES = {"proposals": (), "groundtruth": ("Model.boxes = 'groundtruth'",)}
# Error of predicted outlines in pixels for novel and seen classes, by levels.
_ERRORS = {
    ("default", "proposals"): (3.4, 1.6), ("default", "groundtruth"): (2.6, 1.6),
    ("hourglass20", "proposals"): (2.9, 1.5), ("hourglass20", "groundtruth"): (1.5, 1.3)}


class Names(NamedTuple):
    """Names that a user chooses."""

    sweep: str = "heads_and_boxes"
    heads: tuple[str, str] = ("default", "hourglass20")
    star: str = "star"
    cause: str = CAUSE


_USUAL = Names()


def document(star: str = "star") -> dict[str, Any]:
    """Return COCO annotations of `IMAGES` scenes, which `scene_task` describes.

    Args:
        star: Name of the class "star".
    """
    names = list(CLASSES)
    ids = {name: number for number, name in enumerate(names, 1)}
    annotations = []
    for image_id in range(1, IMAGES + 1):
        for name, entry in scenes.render_scene(scene_task(image_id))[1]:
            place = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append({**place, "category_id": ids[name], **entry})
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE}
              for i in range(1, IMAGES + 1)]
    categories = [{"id": ids[name], "name": star if name == "star" else name} for name in names]
    return {"images": images, "annotations": annotations, "categories": categories}


def scene_task(image_id: int) -> scenes.SceneTask:
    """Return the description of a scene."""
    drawn = np.random.default_rng(image_id).permutation(list(CLASSES))[:4].tolist()
    return scenes.SceneTask(drawn, SIZE, (7, image_id))


def write(
    folder: Path, names: Names = _USUAL, truth: Mapping[str, Any] | None = None,
    dataset: str = "val@0123456789ab", prefix: str = "",
) -> SweepWorkdir:
    """Write a workdir of twelve trials, of which the second has failed and the last is missing.

    Args:
        folder: New folder.
        names: Names of the sweep, its levels, a class and a cause.
        truth: COCO annotations; by default those of `document`.
        dataset: Identity of the dataset that the trials were evaluated on.
        prefix: Prefix of that dataset; empty if it is not available.
    """
    folder.mkdir(parents=True)
    workdir, plan = SweepWorkdir(folder), _plan(folder, names)
    truth = truth or document(names.star)
    workdir.write_plan(plan)
    workdir.write_costs(plan, {
        planned.trial.arm: _cost(planned.levels["mask_head"] == names.heads[1])
        for planned in plan.trials})
    provenance.write_provenance(workdir.new_launch())
    origin = provenance.describe_code()
    for place, planned in enumerate(plan.trials[:-1]):
        workdir.prepare_trial(plan, planned)
        files = workdir.trial(planned.id)
        files.append_attempt({"mode": "train_and_eval", "step": 0, "steps": STEPS, **origin})
        error = _ERRORS[list(_HEADS)[names.heads.index(planned.levels["mask_head"])],
                        planned.levels["box_source"]]
        draw = np.random.default_rng(place)
        last = 300 if place == 1 else STEPS
        for step in range(20, last + 1, 20):
            loss = 0.4 * error[0] + 3 * np.exp(-step / 150) + draw.normal(0, 0.05)
            files.append_metrics(step, {
                "train/total_loss": loss, "train/mask_loss": loss / 3,
                "train/steps_per_second": 4.0})
        if place == 1:
            _fail(workdir.folder(planned.id), names.cause)
            continue
        scalars, evaluated = _evaluate(truth, error, draw)
        files.write_evaluation(evaluated)
        for step in range(150, STEPS, 150):
            share = 1 - np.exp(-step / 150)
            files.append_evaluation(step, {
                name: value and value * share for name, value in scalars.items()})
        files.write_result({
            "step": STEPS, "train_seconds": 150.0, "dataset": dataset,
            **({"data_prefix": prefix} if prefix else {}), **scalars})
    return workdir


def _plan(folder: Path, names: Names) -> Plan:
    recipe = folder / "recipe.gin"
    recipe.write_text(_RECIPE)
    trials = []
    for head, bindings in zip(names.heads, _HEADS.values(), strict=True):
        for boxes, more in _BOXES.items():
            for seed in range(SEEDS):
                arm = f"{head}+{boxes}"
                trial = Trial((str(recipe),), (*bindings, *more), seed, arm)
                levels = {"mask_head": head, "box_source": boxes}
                trials.append(PlannedTrial(f"{len(trials):012x}", trial, levels, STEPS))
    axes = {"mask_head": names.heads, "box_source": tuple(_BOXES)}
    question = "Is it the deep mask head or the ground-truth boxes\nthat segment novel classes?"
    return Plan(names.sweep, question, axes, trials[0].trial.arm, tuple(trials))


def _cost(deep: bool) -> Cost:
    return Cost(
        9_000_000 if deep else 4_000_000, 4_000_000, 3.0, 0.4, 1.1 if deep else 0.2, 8, 10**7, 2,
        STEPS, 8)


def _fail(folder: Path, cause: str) -> None:
    (folder / "logs").mkdir()
    (folder / "logs" / "train-1.log").write_text(f"deepmac-ablate: {cause}\n")
    Attempt("train", 1, "failed", "here", 1, None, 0.0, 1.0, ended=1.0, exit_code=3,
            cause=cause).write(folder)


def _evaluate(
    truth: Mapping[str, Any], error: tuple[float, float], draw: np.random.Generator
) -> tuple[dict[str, float | None], dict[str, bytes]]:
    """Evaluate masks whose outlines are a little off, with the metrics of an evaluation."""
    categories = truth["categories"]
    # The second half of the classes is novel.
    roles = {category["id"]: "seen" if place < len(categories) / 2 else "novel"
             for place, category in enumerate(categories)}
    predicted = {
        annotation["id"]: masks.encode_runs(_blur(
            masks.decode_segmentation(annotation["segmentation"], SIZE, SIZE),
            error[roles[annotation["category_id"]] == "seen"], draw))
        for annotation in truth["annotations"]}
    ground_truth = GroundTruth.from_coco(truth)
    results = mask_iou.as_detections(ground_truth, predicted)
    boxes = {annotation.id: annotation.box for annotation in ground_truth.objects}
    ious = mask_iou.instance_ious(Overlaps(ground_truth, results)).join(
        reference_ious(ground_truth, boxes, MASK_SIZE))
    frame = summary.per_class_frame(roles, mask_iou.per_class_iou(ground_truth, ious))
    scalars = summary.mean_scalars("groundtruth", frame)
    frame.insert(0, "reading", "groundtruth")
    ious.insert(0, "reading", "groundtruth")
    return scalars, {
        "per_class.csv": frame.to_csv(index=False).encode(),
        "instances.csv.gz": gzip.compress(ious.to_csv(index=False).encode()),
        "masks.json.gz": gzip.compress(to_json(results).encode())}


def _blur(mask: np.ndarray, error: float, draw: np.random.Generator) -> np.ndarray:
    """Return a mask with rounded corners and a small offset."""
    soft = Image.fromarray(mask * 255).filter(ImageFilter.GaussianBlur(error))
    shift = np.round(draw.normal(0, error / 2, 2)).astype(int)
    return (np.roll(np.asarray(soft), shift, (0, 1)) > draw.uniform(90, 150)).astype(np.uint8)
