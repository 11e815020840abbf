"""Metrics of a trial by class on samples of the images that it was evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean, inflect
from deepmac_ablate.evaluation.metrics.matches import Matches, RankedMatches
from deepmac_ablate.results import instances as instance_ious
from deepmac_ablate.storage import file_io

# The file of a trial that each metric is computed from.
_FILES = {
    "groundtruth/iou": instance_ious.FILE,
    "groundtruth/boundary_iou": instance_ious.FILE,
    "groundtruth/mask_ap": "matches/groundtruth_mask.npz",
    "detections/mask_ap": "matches/detections_mask.npz",
    "detections/box_ap": "matches/detections_box.npz",
}
METRICS: tuple[str, ...] = tuple(_FILES)
# Further metrics of objects are columns of the same file.
_OF_OBJECTS = "groundtruth/"

ByClass = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ScoredImages:
    """A metric of a trial that can be computed for any sample of its I images.

    Attributes:
        image_ids: [I] ids, ascending; for IoU only images with an annotated mask, which alone
            matter.
        class_ids: [C] ids, ascending; for IoU only classes with an annotated mask.
        instances: [G, 2] indices of the image and the class of each annotated object.
        by_class: A function from the number of times that each image is in the sample, [I], to the
            metric of each class, [C] in [0, 1], NaN if the sample has no instance of the class.
    """

    image_ids: np.ndarray
    class_ids: np.ndarray
    instances: np.ndarray
    by_class: ByClass

    @property
    def ones(self) -> np.ndarray:
        """The sample that contains every image once, [I]."""
        return np.ones(len(self.image_ids))


def check_metric(metric: str) -> None:
    """Check that a metric can be computed for samples of images, as far as its name tells.

    Raises:
        UserError: If it cannot.
    """
    if not metric.startswith(_OF_OBJECTS):
        _check_known(metric, METRICS)


def _check_known(metric: str, known: Collection[str]) -> None:
    if metric not in known:
        raise UserError(
            f"Arms cannot be compared by {metric!r}.{did_you_mean(metric, known)} Known are "
            f"{', '.join(known)}.")


def read_scored_images(trials: Sequence[Mapping[str, Any]], metric: str) -> list[ScoredImages]:
    """Return the metric of each trial on the images that the trials were evaluated on.

    Args:
        trials: Rows of the data frame of results.
        metric: One of `METRICS`, or a further metric of objects, such as
            "groundtruth/pixel_recall".

    Raises:
        UserError: If no trial has the metric, a file is missing or broken, there is no object to
            score, or the trials were not evaluated on the same images, classes and objects.
    """
    check_metric(metric)
    file = _FILES.get(metric, instance_ious.FILE)
    contents = read_trial_files(trials, file)
    if lacking := [row for row in trials if row["trial"] not in contents]:
        some = f"{len(lacking)} of {len(trials)} trials {inflect(len(lacking), 'has', 'have')}"
        folder = lacking[0]["folder"]
        raise UserError(
            f"{some if len(trials) > 1 else 'The trial has'} no {file}, which {metric} "
            f"needs; `deepmac-ablate train --workdir {folder} --mode eval` evaluates "
            f"{'the first of them' if len(lacking) > 1 else 'it'} again and writes the file.")
    scored = [
        _score_instances(instance_ious.parse_instances(content, path), metric)
        if file == instance_ious.FILE
        else _score_matches(Matches.from_bytes(content, path))
        for content, path in contents.values()]
    if not len(scored[0].instances):
        raise UserError(
            f"Trial {trials[0]['trial']} was not evaluated on any object with {metric}, so there "
            "is nothing to compare.")
    for row, other in zip(trials, scored, strict=True):
        for name in ("image_ids", "class_ids", "instances"):
            if not np.array_equal(getattr(scored[0], name), getattr(other, name)):
                raise UserError(
                    f"Trials {trials[0]['trial']} and {row['trial']} were not evaluated on the "
                    "same images, classes and objects, so they cannot be compared by image.")
    return scored


def read_trial_files(
    trials: Sequence[Mapping[str, Any]], name: str
) -> dict[str, tuple[bytes, str]]:
    """Return the content and path of a file by trial id, for the trials that have the file."""
    paths = {row["trial"]: f"{row['folder']}/{name}" for row in trials}
    contents = file_io.read_many(paths.values())
    found = {trial: (contents[path], path) for trial, path in paths.items()}
    return {trial: (text, path) for trial, (text, path) in found.items() if text is not None}


def _score_instances(table: pd.DataFrame, metric: str) -> ScoredImages:
    image_ids, image = np.unique(table["image_id"], return_inverse=True)
    class_ids, category = np.unique(table["category_id"], return_inverse=True)
    of_objects = table.columns.drop(list(instance_ious.IDS))
    _check_known(metric, list(dict.fromkeys([*METRICS, *map(_OF_OBJECTS.__add__, of_objects)])))
    values = table[metric.removeprefix(_OF_OBJECTS)].to_numpy(float)
    defined = np.isfinite(values)
    values = np.where(defined, values, 0.0)

    def by_class(weights: np.ndarray) -> np.ndarray:
        each = np.asarray(weights, float)[image] * defined
        total = np.bincount(category, each, minlength=len(class_ids))
        with np.errstate(invalid="ignore"):
            return np.bincount(category, each * values, minlength=len(class_ids)) / total

    return ScoredImages(image_ids, class_ids, np.stack([image, category], axis=1), by_class)


def _score_matches(matches: Matches) -> ScoredImages:
    return ScoredImages(
        matches.image_ids, matches.class_ids, matches.instances,
        RankedMatches(matches).average_precision)
