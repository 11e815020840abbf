"""A trained model -> exact numbers: every image once, with detected and with given boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gin
import pandas as pd
import tensorflow as tf

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.evaluation.given_boxes import GivenBox, given_boxes
from deepmac_ablate.evaluation.metrics import agnostic_recall, average_precision, mask_iou, summary
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.predictor import Predictor
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.progress import track


class EvaluationResult(NamedTuple):
    """The numbers of an evaluation, with the annotations and predictions that they are about.

    Attributes:
        ground_truth: the annotations of the evaluated images.
        scalars: `<box source>/<metric>/<classes>` -> number in [0, 1], None where undefined.
        per_class: one row per class and box source.
        instances: one row per annotated mask and source of given boxes, see
            `mask_iou.instance_ious`.
        predictions: box source -> COCO results; in given boxes also where no mask is annotated.
    """

    ground_truth: GroundTruth
    scalars: dict[str, float | None]
    per_class: pd.DataFrame
    instances: pd.DataFrame
    predictions: dict[str, list[dict[str, Any]]]


@gin.register(module="deepmac_ablate.evaluation")
class Evaluation:
    """How a trial is evaluated.

    Attributes:
        data: the images.
        every: steps between evaluations during training; 0: only at the end.
        box_sources: where the boxes come from that masks are predicted in.
        noise_seed: what the noise on jittered boxes is a function of.
        overlays: on how many images the predictions of the last evaluation are drawn.
    """

    def __init__(
        self,
        data: EvaluationData = gin.REQUIRED,
        box_sources: Sequence[str] = ("detections", "groundtruth"),
        every: int = 0,
        noise_seed: int = 0,
        overlays: int = 4,
    ) -> None:
        """Record what to evaluate.

        Args:
            data: the images.
            box_sources: where the boxes come from that masks are predicted in: "detections" of the
                model; "groundtruth", the annotations; annotations with noise, such as "jittered0.1"
                or "jittered0.1-expand" (see `jitter`), whose masks are compared with the whole
                annotated ones, also where these reach out of the moved box.
            every: steps between evaluations during training; 0: only at the end.
            noise_seed: what the noise is a function of, with the annotations' ids: it is the same
                for every trial.
            overlays: on how many images the predictions of the last evaluation are drawn; 0: none.

        Raises:
            UserError: if there is no source of boxes or an unknown one, or a number is negative.
        """
        check_at_least(
            0, Evaluation__every=every, Evaluation__noise_seed=noise_seed,
            Evaluation__overlays=overlays)
        if not box_sources:
            raise UserError(
                "Evaluation.box_sources is empty; name 'detections' or 'groundtruth' or both.")
        summary.check_box_sources(box_sources)
        self.data = data
        self.every = every
        self.box_sources = tuple(box_sources)
        self.noise_seed = noise_seed
        self.overlays = overlays

    def check_data(self) -> None:
        """Open the data, so that what it lacks is known before anything is computed.

        Raises:
            UserError: if there is no complete dataset.
        """
        _ = self.data.info

    def dataset_identity(self) -> dict[str, str]:
        """Return the entries of result.json that name the evaluated dataset and its prefix."""
        return {"dataset": self.data.info.identity, "data_prefix": self.data.prefix}

    def run(
        self,
        model: MaskRCNN,
        strategy: tf.distribute.Strategy,
        seen_classes: class_splits.Split,
    ) -> EvaluationResult:
        """Evaluate a model on every image.

        Args:
            model: the trained model.
            strategy: where it lives.
            seen_classes: the classes that count as seen; all others are novel.
        """
        ground_truth = GroundTruth.load(annotations_path(self.data.prefix))
        roles = class_splits.roles(seen_classes, self.data.info.categories)
        given_sources = [source for source in self.box_sources if source != "detections"]
        given = given_boxes(ground_truth, given_sources, self.noise_seed)
        predictor = Predictor(model, strategy, self.data.batch_size)
        detect = "detections" in self.box_sources
        scored: list[int] = []
        detections: list[dict[str, Any]] = []
        in_boxes: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        images = (
            image
            for batch in self.data.dataset(model.image_size)
            for image in predictor.predict(batch, given, detect))
        for image in track(images, self.data.info.num_images, "Evaluating"):
            scored.append(image.image_id)
            detections.extend(image.detections)
            for source, masks in image.in_boxes.items():
                in_boxes[source].update(masks)
        average_precision.check_every_image_once(ground_truth.image_sizes, scored)

        scalars: dict[str, float | None] = {}
        frames: list[pd.DataFrame] = []
        instances: list[pd.DataFrame] = []
        predictions: dict[str, list[dict[str, Any]]] = {}
        for source in self.box_sources:
            if source == "detections":
                predictions[source] = detections
                tables = _tables_of_detections(ground_truth, detections)
            else:
                predictions[source] = mask_iou.as_detections(
                    ground_truth, in_boxes[source], _boxes_by_annotation(given, source))
                ious = mask_iou.instance_ious(ground_truth, in_boxes[source])
                tables = _tables_in_boxes(ground_truth, predictions[source], ious)
                ious.insert(0, "reading", source)
                instances.append(ious)
            frame = summary.per_class_frame(roles, *tables)
            scalars |= summary.scalars(source, frame)
            frame.insert(0, "reading", source)
            frames.append(frame)
        return EvaluationResult(
            ground_truth, scalars, pd.concat(frames, ignore_index=True),
            pd.concat(instances, ignore_index=True) if instances else pd.DataFrame(), predictions)


def _tables_of_detections(
    ground_truth: GroundTruth, detections: Sequence[Mapping[str, Any]]
) -> list[pd.DataFrame]:
    """Return all per-class tables about detections, masks first."""
    mask, boundary, box = (
        average_precision.per_class_ap(ground_truth, detections, task)
        for task in ("mask", "boundary", "box"))
    recall = agnostic_recall.per_class_agnostic_recall(ground_truth, detections)
    return [mask, boundary, recall, box]


def _tables_in_boxes(
    ground_truth: GroundTruth, results: Sequence[Mapping[str, Any]], ious: pd.DataFrame
) -> list[pd.DataFrame]:
    """Return all per-class tables about masks in given boxes."""
    found = mask_iou.with_annotated_mask(ground_truth, results)
    return [
        average_precision.per_class_ap(ground_truth, found, "mask"),
        average_precision.per_class_ap(ground_truth, found, "boundary"),
        mask_iou.per_class_iou(ground_truth, ious),
    ]


def _boxes_by_annotation(
    given: Mapping[int, Sequence[GivenBox]], source: str
) -> dict[int, Sequence[float]]:
    return {
        one.annotation_id: one.box
        for of_image in given.values() for one in of_image if one.source == source
    }
