"""Evaluation of a trained model: every image exactly once, in detected and in given boxes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import gin
import pandas as pd
import tensorflow as tf

from deepmac_ablate import class_splits
from deepmac_ablate.bindings.ranges import Range
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData, draw_images
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.given_boxes import GivenBox, given_boxes
from deepmac_ablate.evaluation.metrics import (
    agnostic_recall,
    average_precision,
    further,
    mask_iou,
    summary,
)
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth, load_annotations
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from deepmac_ablate.evaluation.model_classes import UNKNOWN, ModelClasses
from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.evaluation.reference_masks import reference_ious
from deepmac_ablate.modeling.detectors import Detector
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.progress import track

_ImagesOrAll = Annotated[int, Range(1, 10_000_000)] | None


class EvaluationResult(NamedTuple):
    """Scores of an evaluation, with the annotations and predictions behind them.

    Attributes:
        ground_truth: The annotations of the evaluated images.
        scalars: `<box source>/<metric>/<classes>` -> number in [0, 1], None where undefined.
        per_class: One row per class and box source.
        instances: One row per annotated mask and source of given boxes, see
            `mask_iou.instance_ious`.
        predictions: Box source -> COCO results. Those in given boxes include objects without an
            annotated mask.
        overlaps: Box source -> the predictions that are compared with annotations, and their
            overlaps.
        seconds: The time that it took.
    """

    ground_truth: GroundTruth
    scalars: dict[str, float | None]
    per_class: pd.DataFrame
    instances: pd.DataFrame
    predictions: dict[str, list[dict[str, Any]]]
    overlaps: dict[str, Overlaps]
    seconds: float = 0.0

    @property
    def num_images(self) -> int:
        """The number of evaluated images."""
        return len(self.ground_truth.image_sizes)


@gin.register(module="deepmac_ablate.evaluation")
class Evaluation:
    """The settings of an evaluation.

    Attributes:
        data: The images to evaluate on.
        every: Steps between evaluations during training; 0 to evaluate only at the end.
        box_sources: The sources of the boxes that masks are predicted in.
        noise_seed: The seed of the noise on jittered boxes.
        overlays: The number of images on which the final predictions are drawn.
        metrics: Metrics beside the built-in ones.
        images: The number of images to evaluate on, see `draw_images`; None for all.
        images_during_training: As `images`, for evaluations before the last step; None for the same
            number.
    """

    def __init__(
        self,
        data: EvaluationData = gin.REQUIRED,
        box_sources: Sequence[str] = ("detections", "groundtruth"),
        every: Annotated[int, Range(0, 10_000_000)] = 0,
        noise_seed: Annotated[int, Range(0, 2**32 - 1)] = 0,
        overlays: Annotated[int, Range(0, 100_000)] = 4,
        metrics: Sequence[further.Metric] = (),
        images: _ImagesOrAll = None,
        images_during_training: _ImagesOrAll = None,
    ) -> None:
        """Record the settings.

        Args:
            data: The images to evaluate on.
            box_sources: The sources of the boxes that masks are predicted in: "detections" of the
                model; "groundtruth" boxes; ground-truth boxes with noise, such as "jittered0.1" or
                "jittered0.1-expand" (see `box_jitter`). Masks in jittered boxes are compared with
                the whole annotated mask, even where it extends beyond the jittered box.
            every: Steps between evaluations during training; 0 to evaluate only at the end.
            noise_seed: The seed of the noise on jittered boxes. Together with the annotation's
                id it determines the noise, which is thus the same for every trial.
            overlays: The number of images on which the final predictions are drawn.
            metrics: Metrics beside the built-in ones, see `metrics.further`.
            images: The number of images to evaluate on, drawn at random, but the same for every
                trial; None for all.
            images_during_training: As `images`, for evaluations before the last step; None for the
                same number.

        Raises:
            UserError: If there is no box source or an unknown one, or a metric has no name of its
                own.
        """
        if not box_sources:
            raise UserError(
                "Evaluation.box_sources must name at least one box source, such as 'detections' or "
                "'groundtruth', got none.")
        summary.check_box_sources(box_sources)
        further.check_metrics(metrics)
        self.data = data
        self.every = every
        self.box_sources = tuple(box_sources)
        self.noise_seed = noise_seed
        self.overlays = overlays
        self.metrics = tuple(metrics)
        self.images = images
        self.images_during_training = images_during_training
        # Kept, as its programs are traced once for all evaluations of a model.
        self._predictor: Predictor | None = None

    def check_data(self) -> None:
        """Open the dataset, so that problems show before anything is computed.

        Raises:
            UserError: If the dataset is missing or incomplete.
        """
        _ = self.data.info

    def check_detector(self, detector: Detector | type[Detector]) -> None:
        """Raise a UserError if masks are to be predicted in the detections of one without any."""
        if "detections" in self.box_sources and not detector.finds_objects:
            name = (detector if isinstance(detector, type) else type(detector)).__name__
            raise UserError(
                f"Evaluation.box_sources = {self.box_sources} has 'detections', but {name} detects "
                "nothing; use 'groundtruth', or boxes with jitter such as 'jittered0.1'.")

    def count_images(self, during_training: bool = False) -> int:
        """Return the number of images of an evaluation."""
        most = self.images_during_training if during_training else None
        return min(most or self.images or self.data.info.num_images, self.data.info.num_images)

    def describe_images(self, evaluated: EvaluationResult) -> dict[str, str | int]:
        """Return the entries of result.json about the evaluated images.

        They are the dataset, its prefix, the number of its images and that of the evaluated ones.
        """
        info = self.data.info
        return {
            "dataset": info.identity, "data_prefix": self.data.prefix,
            "dataset_images": info.num_images, "images": evaluated.num_images}

    def evaluate(
        self,
        model: MaskRCNN,
        strategy: tf.distribute.Strategy,
        seen_classes: class_splits.Split,
        classes: ModelClasses = UNKNOWN,
        during_training: bool = False,
    ) -> EvaluationResult:
        """Evaluate a model on all images, or on `count_images` of them.

        Args:
            model: The trained model.
            strategy: The strategy in whose scope the model was built.
            seen_classes: The classes that count as seen; all others are novel.
            classes: The classes of the model.
            during_training: Whether this is an evaluation before the last step.

        Raises:
            UserError: If the dataset's images and its annotations do not correspond, or the model
                has no detections to evaluate.
        """
        started = time.monotonic()
        self.check_detector(model.detector)
        document = load_annotations(annotations_path(self.data.prefix))
        number, chosen = self.count_images(during_training), None
        if number < self.data.info.num_images:
            chosen = draw_images((image["id"] for image in document["images"]), number)
        ground_truth = GroundTruth.from_coco(document, chosen)
        roles = class_splits.roles(seen_classes, self.data.info.categories)
        given_sources = [source for source in self.box_sources if source != "detections"]
        given = given_boxes(ground_truth, given_sources, self.noise_seed)
        if self._predictor is None or self._predictor.model is not model:
            self._predictor = Predictor(model, strategy, self.data.batch_size, classes)
        predictor = self._predictor
        detect = "detections" in self.box_sources
        scored: list[int] = []
        detections: list[dict[str, Any]] = []
        in_boxes: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        images = (
            image
            for batch in self.data.dataset(model.image_size, chosen)
            for image in predictor.predict(batch, given, detect))
        for image in track(images, number, "Evaluating"):
            scored.append(image.image_id)
            detections.extend(image.detections)
            for source, masks in image.in_boxes.items():
                in_boxes[source].update(masks)
        average_precision.check_every_image_once(ground_truth.image_sizes, scored)

        scalars: dict[str, float | None] = {}
        frames: list[pd.DataFrame] = []
        instances: list[pd.DataFrame] = []
        predictions: dict[str, list[dict[str, Any]]] = {}
        overlaps: dict[str, Overlaps] = {}
        for source in self.box_sources:
            if source == "detections":
                predictions[source] = detections
                overlaps[source] = Overlaps(ground_truth, detections)
                tables = _detection_tables(overlaps[source])
            else:
                boxes = _boxes_by_annotation(given, source)
                predictions[source] = mask_iou.as_detections(ground_truth, in_boxes[source], boxes)
                overlaps[source] = Overlaps(
                    ground_truth,
                    mask_iou.with_annotated_mask(ground_truth, predictions[source]))
                ious = pd.concat([
                    mask_iou.instance_ious(overlaps[source]),
                    reference_ious(ground_truth, boxes, model.mask_head.mask_size),
                    further.score_objects(self.metrics, overlaps[source])], axis="columns")
                tables = [
                    average_precision.per_class_ap(overlaps[source], "mask"),
                    average_precision.per_class_ap(overlaps[source], "boundary"),
                    mask_iou.per_class_iou(ground_truth, ious)]
                ious.insert(0, "reading", source)
                instances.append(ious)
            own = further.score_classes(self.metrics, overlaps[source])
            frame = summary.per_class_frame(roles, *tables, own)
            scalars |= summary.mean_scalars(source, frame)
            frame.insert(0, "reading", source)
            frames.append(frame)
        return EvaluationResult(
            ground_truth, scalars, pd.concat(frames, ignore_index=True),
            pd.concat(instances, ignore_index=True) if instances else pd.DataFrame(), predictions,
            overlaps, time.monotonic() - started)


def _detection_tables(overlaps: Overlaps) -> list[pd.DataFrame]:
    """Return the per-class tables of detections, those about masks first."""
    mask, boundary, box = (
        average_precision.per_class_ap(overlaps, task) for task in ("mask", "boundary", "box"))
    return [mask, boundary, agnostic_recall.per_class_agnostic_recall(overlaps), box]


def _boxes_by_annotation(
    given: Mapping[int, Sequence[GivenBox]], source: str
) -> dict[int, Sequence[float]]:
    return {
        given_box.annotation_id: given_box.box
        for boxes in given.values() for given_box in boxes if given_box.source == source
    }
