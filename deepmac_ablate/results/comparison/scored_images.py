"""A trial's number by class on any sample of the images that it was evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.evaluation.metrics.matches import Matches, RankedMatches
from deepmac_ablate.results import instances as kept

# Which file of a trial has a metric for samples of images.
_FILES = {
    "groundtruth/iou": kept.FILE,
    "groundtruth/boundary_iou": kept.FILE,
    "groundtruth/mask_ap": "matches/groundtruth_mask.npz",
    "detections/mask_ap": "matches/detections_mask.npz",
    "detections/box_ap": "matches/detections_box.npz",
}
METRICS: tuple[str, ...] = tuple(_FILES)

ByClass = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ScoredImages:
    """A metric of a trial, to be had for any sample of its I images.

    Attributes:
        image_ids: [I] ascending; for IoU those with an annotated mask, as no other has a say.
        class_ids: [C] ascending; for IoU those that have an annotated mask.
        instances: [G, 2] image and class, as indices, of each annotated object.
        by_class: From how often each image is in the sample, [I], to the metric of every class,
            [C] in [0, 1], NaN where the sample has no instance.
    """

    image_ids: np.ndarray
    class_ids: np.ndarray
    instances: np.ndarray
    by_class: ByClass

    @property
    def ones(self) -> np.ndarray:
        """The sample that has every image once, [I]."""
        return np.ones(len(self.image_ids))


def check_metric(metric: str) -> None:
    """Raise unless a metric can be had for samples of images.

    Raises:
        UserError: If it cannot.
    """
    if metric not in _FILES:
        raise UserError(
            f"Cannot compare by {metric!r}.{did_you_mean(metric, METRICS)} Known are "
            f"{', '.join(METRICS)}.")


def read(trials: Sequence[Mapping[str, Any]], metric: str) -> list[ScoredImages]:
    """Read what some trials left of the images that they were evaluated on.

    Args:
        trials: Rows of the data frame of results.
        metric: One of `METRICS`.

    Raises:
        UserError: If a file is missing or broken, there is no object in it, or the trials have not
            scored the same images and classes.
    """
    contents = read_files(trials, _FILES[metric])
    if lacking := [row for row in trials if row["trial"] not in contents]:
        some = f"{len(lacking)} of the {len(trials)} trials lack"
        folder = lacking[0]["folder"]
        raise UserError(
            f"{some if len(trials) > 1 else 'The trial lacks'} {_FILES[metric]}, by which {metric} "
            f"is compared; `deepmac-ablate train --workdir {folder} --mode eval` evaluates "
            f"{'the first of them' if len(lacking) > 1 else 'it'} again and writes it.")
    scored = [
        _instances(kept.table(content, where), metric) if _FILES[metric] == kept.FILE
        else _matches(Matches.from_bytes(content, where))
        for content, where in contents.values()]
    if not len(scored[0].instances):
        raise UserError(
            f"Trial {trials[0]['trial']} was evaluated on no object that {metric} is about, so "
            "there is nothing to compare.")
    for row, other in zip(trials, scored, strict=True):
        for name in ("image_ids", "class_ids", "instances"):
            if not np.array_equal(getattr(scored[0], name), getattr(other, name)):
                raise UserError(
                    f"Trials {trials[0]['trial']} and {row['trial']} were not evaluated on the "
                    "same images, classes and objects, so they cannot be compared by image.")
    return scored


def read_files(
    trials: Sequence[Mapping[str, Any]], name: str
) -> dict[str, tuple[bytes, str]]:
    """Return content and path of a file by trial id, of the trials that have it."""
    paths = {row["trial"]: f"{row['folder']}/{name}" for row in trials}
    contents = storage.read_many(paths.values())
    found = {trial: (contents[path], path) for trial, path in paths.items()}
    return {trial: (text, path) for trial, (text, path) in found.items() if text is not None}


def _instances(table: pd.DataFrame, metric: str) -> ScoredImages:
    image_ids, image = np.unique(table["image_id"], return_inverse=True)
    class_ids, category = np.unique(table["category_id"], return_inverse=True)
    values = table[metric.partition("/")[2]].to_numpy()

    def by_class(weights: np.ndarray) -> np.ndarray:
        each = np.asarray(weights, float)[image]
        total = np.bincount(category, each, minlength=len(class_ids))
        with np.errstate(invalid="ignore"):
            return np.bincount(category, each * values, minlength=len(class_ids)) / total

    return ScoredImages(image_ids, class_ids, np.stack([image, category], axis=1), by_class)


def _matches(matches: Matches) -> ScoredImages:
    return ScoredImages(
        matches.image_ids, matches.class_ids, matches.instances,
        RankedMatches(matches).average_precision)
