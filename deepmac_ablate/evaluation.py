"""A trained model -> exact numbers: every image once, with detected and with annotated boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import gin
import pandas as pd
import tensorflow as tf

from deepmac_ablate import class_splits, coco_metrics, mask_iou, readings
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.ground_truth import load_annotations
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.predictions import Predictor
from deepmac_ablate.progress import track

BoxSource = Literal["detections", "groundtruth"]


class Numbers(NamedTuple):
    """What an evaluation found.

    Attributes:
        scalars: `<reading>/<metric>/<classes>` -> number in [0, 1], None where undefined.
        per_class: one row per class and reading.
        predictions: reading -> COCO results; in annotated boxes also where no mask is annotated.
    """

    scalars: dict[str, float | None]
    per_class: pd.DataFrame
    predictions: dict[str, list[dict[str, Any]]]


@gin.register
class Evaluation:
    """How a trial is evaluated.

    Attributes:
        data: the images.
        every: steps between evaluations during training; 0: only at the end.
        box_sources: where the boxes come from that masks are predicted in.
    """

    def __init__(
        self,
        data: EvaluationData = gin.REQUIRED,
        box_sources: Sequence[BoxSource] = ("detections", "groundtruth"),
        every: int = 0,
    ) -> None:
        """Reads the annotations.

        Args:
            data: the images.
            box_sources: where the boxes come from that masks are predicted in: the model's
                detections, the annotations.
            every: steps between evaluations during training; 0: only at the end.

        Raises:
            UserError: if there is no source of boxes, or `every` is negative.
        """
        check_at_least(0, Evaluation__every=every)
        if not box_sources:
            raise UserError(
                "Evaluation.box_sources is empty; name 'detections' or 'groundtruth' or both.")
        self.data = data
        self.every = every
        self.box_sources = tuple(box_sources)

    def check_data(self) -> None:
        """Opens the data, so that what it lacks is known before anything is computed.

        Raises:
            UserError: if there is no complete data set.
        """
        _ = self.data.info

    def run(
        self,
        model: MaskRCNN,
        strategy: tf.distribute.Strategy,
        seen_classes: class_splits.Split,
    ) -> Numbers:
        """Evaluates.

        Args:
            model: the trained model.
            strategy: where it lives.
            seen_classes: the classes that count as seen; all others are novel.
        """
        truth = load_annotations(annotations_path(self.data.prefix))
        roles = class_splits.roles(seen_classes, self.data.info.categories)
        by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        if "groundtruth" in self.box_sources:
            for annotation in truth["annotations"]:
                if not annotation.get("iscrowd", 0):
                    by_image[annotation["image_id"]].append(annotation)

        predictor = Predictor(model, strategy, self.data.batch_size)
        detect = "detections" in self.box_sources
        scored: list[int] = []
        detections: list[dict[str, Any]] = []
        in_boxes: dict[int, dict[str, Any]] = {}
        images = (
            image
            for batch in self.data.dataset(model.image_size)
            for image in predictor.predict(batch, by_image, detect))
        for image in track(images, self.data.info.num_images, "Evaluating"):
            scored.append(image.image_id)
            detections.extend(image.detections)
            in_boxes.update(image.in_boxes)
        coco_metrics.check_every_image_once([image["id"] for image in truth["images"]], scored)

        frames: dict[str, pd.DataFrame] = {}
        predictions: dict[str, list[dict[str, Any]]] = {}
        if detect:
            predictions["detections"] = detections
            frames["detections"] = readings.per_class_frame(
                roles, *(coco_metrics.per_class_ap(truth, detections, scored, task)
                         for task in ("mask", "box")))
        if "groundtruth" in self.box_sources:
            predictions["groundtruth"] = mask_iou.as_detections(
                truth, in_boxes, scored, with_unjudged=True)
            given = mask_iou.as_detections(truth, in_boxes, scored)
            frames["groundtruth"] = readings.per_class_frame(
                roles, coco_metrics.per_class_ap(truth, given, scored, "mask"),
                mask_iou.per_class_iou(truth, in_boxes, scored))
        scalars: dict[str, float | None] = {}
        for reading, frame in frames.items():
            scalars |= readings.scalars(reading, frame)
            frame.insert(0, "reading", reading)
        return Numbers(scalars, pd.concat(frames.values(), ignore_index=True), predictions)
