"""Pseudo-masks: a trained trial's masks in annotated boxes, as annotations for a student."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from etils import epath
from faster_coco_eval import mask as rle

from deepmac_ablate.data import coco_annotations, image_files, model_input
from deepmac_ablate.data.class_agreement import check_agreement
from deepmac_ablate.data.picture_reader import read_picture
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.evaluation.given_boxes import GivenBox
from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.progress import track
from deepmac_ablate.serving.trained import TrainedModel, load_trained
from deepmac_ablate.storage import file_io

Objects = Literal["unseen", "without-mask", "all"]

_SOURCE = "groundtruth"


def write_pseudo_masks(
    workdir: str, images: Path, annotations: Path, output: Path, objects: Objects = "unseen",
    min_stability: float = 0.0, batch_size: int = 8,
) -> list[str]:
    """Write an annotation file with masks that a trial has predicted in the annotated boxes.

    Args:
        workdir: The teacher's folder, with its last checkpoint.
        images: Folder of the image files.
        annotations: COCO instances file; its boxes are used, and masks are not needed.
        output: COCO instances file to write. `info.pseudo_masks` names the teacher, and each
            annotation whose mask is predicted has its `stability`.
        objects: Objects that get a predicted mask: "unseen", those whose mask the teacher has not
            seen, as they are of its novel classes or have none; "without-mask", those without one;
            or "all".
        min_stability: Least stability of a predicted mask, in [0, 1], see `Predictor`. Objects
            below it keep their box and have no mask.
        batch_size: Number of images in a batch.

    Returns:
        Lines that describe the file to a user.

    Raises:
        UserError: If the output exists, there is no trial or checkpoint, its classes disagree with
            those of the file, or an image cannot be read.
    """
    file_io.refuse_existing(epath.Path(output))
    if not 0.0 <= min_stability <= 1.0:
        raise UserError(f"The least stability must be from 0 to 1, got {min_stability:g}.")
    truth = coco_annotations.read_coco(annotations, boxes_only=True)
    located = image_files.locate_images(truth.images, images, truth.named_by_url)
    truth = truth.with_file_names(located.names)
    trained = load_trained(workdir)
    names = {category.id: category.name for category in truth.categories}
    check_agreement(f"the trial in {workdir}", trained.classes.names, str(annotations), names)
    unknown = [names[i] for i in names if i not in trained.classes.names]
    if unknown and not trained.model.mask_head.class_agnostic and trained.classes.names:
        raise UserError(
            f"The mask head of the trial in {workdir} is class-specific and does not know "
            f"{unknown[0]!r}; use a class-agnostic one.")
    wanted = {
        image["id"]: [
            entry for entry in truth.annotations.get(image["id"], ())
            if not entry["iscrowd"] and _is_wanted(entry, objects, trained)]
        for image in truth.images}
    counts: Counter[str] = Counter()
    replaced: dict[int, dict[str, Any]] = {}
    for entry, mask, stability in _predict(trained, truth.images, images, wanted, batch_size):
        kept = stability >= min_stability and rle.area([mask])[0] > 0
        counts["predicted" if kept else "unstable"] += 1
        replaced[entry["id"]] = _with_mask(entry, mask if kept else None, stability)
    teacher = {
        "trial": trained.trial_id, "step": trained.step, "objects": objects,
        "min_stability": min_stability, "masks": counts["predicted"]}
    document = {
        **truth.document,
        "info": {**(truth.document.get("info") or {}), "pseudo_masks": teacher},
        "annotations": [
            replaced.get(entry["id"], entry) for entry in truth.document["annotations"]]}
    output.parent.mkdir(parents=True, exist_ok=True)
    file_io.write(output, json.dumps(document) + "\n")
    others = len(document["annotations"]) - len(replaced)
    return [
        f"{output}: {count_noun(counts['predicted'], 'mask')} predicted by trial "
        f"{trained.trial_id} at step {trained.step}, {counts['unstable']} left out with a "
        f"stability below {min_stability:g} or no pixel, {count_noun(others, 'annotation')} "
        "unchanged",
        f"Next: deepmac-ablate data coco --images {images} --annotations {output} --output PREFIX"]


def _is_wanted(entry: Mapping[str, Any], objects: Objects, trained: TrainedModel) -> bool:
    if objects == "all" or not _has_mask(entry):
        return True
    return objects == "unseen" and trained.classes.roles.get(entry["category_id"]) != "seen"


def _has_mask(entry: Mapping[str, Any]) -> bool:
    segmentation = entry["segmentation"]
    return bool(
        segmentation if isinstance(segmentation, list) else rle.area([segmentation])[0] > 0)


def _with_mask(
    entry: Mapping[str, Any], mask: Mapping[str, Any] | None, stability: float
) -> dict[str, Any]:
    """Return an annotation with another mask, or with none, and its area or that of the box."""
    segmentation: Any = []
    area = float(entry["bbox"][2] * entry["bbox"][3])
    if mask is not None:
        area = float(rle.area([mask])[0])
        counts = mask["counts"]
        segmentation = {
            "size": list(mask["size"]),
            "counts": counts.decode() if isinstance(counts, bytes) else counts}
    return {
        **entry, "segmentation": segmentation, "area": area, "stability": round(stability, 4)}


def _predict(
    trained: TrainedModel, entries: list[dict[str, Any]], folder: Path,
    wanted: Mapping[int, list[dict[str, Any]]], batch_size: int,
) -> Iterator[tuple[dict[str, Any], Mapping[str, Any], float]]:
    """Yield each wanted annotation with its predicted mask (RLE) and the mask's stability."""
    model = trained.model
    predictor = Predictor(model, trained.strategy, batch_size, trained.classes)
    prepare = tf.function(
        lambda pixels: model_input.prepare_image(pixels, model.image_size),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    used = [entry for entry in entries if wanted[entry["id"]]]
    waiting = iter(track(used, len(used), "Predicting masks"))
    while batch := list(itertools.islice(waiting, batch_size)):
        prepared = [
            prepare(np.asarray(read_picture(
                folder / entry["file_name"], (entry["width"], entry["height"])).image))
            for entry in batch]
        given = {
            entry["id"]: [
                GivenBox(_SOURCE, each["id"], each["category_id"], each["bbox"])
                for each in wanted[entry["id"]]]
            for entry in batch}
        predictions = predictor.predict(
            {"images": tf.stack([image for image, _ in prepared]),
             "image_info": tf.stack([info for _, info in prepared]),
             "image_ids": tf.constant([entry["id"] for entry in batch], tf.int64)},
            given, detect=False)
        for prediction in predictions:
            masks = prediction.in_boxes[_SOURCE]
            for entry in wanted[prediction.image_id]:
                yield entry, masks[entry["id"]], prediction.stability[_SOURCE][entry["id"]]
