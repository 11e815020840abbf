"""The images and annotations that trials were evaluated on, as far as they are at hand."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.errors import UserError
from deepmac_ablate.metrics.ground_truth import load_annotations
from deepmac_ablate.results.report.evaluated import Shown
from deepmac_ablate.workdir import TrialWorkdir


class EvaluatedImages(NamedTuple):
    """A data set.

    Attributes:
        prefix: Of its files; empty where it is not at hand.
        annotations: By their ids.
        note: Why it is not at hand, and what to do; else empty.
    """

    prefix: str
    annotations: Mapping[int, Mapping[str, Any]]
    note: str

    def pixels(self, image_ids: Collection[int]) -> Mapping[int, np.ndarray]:
        """Returns [height, width, 3] uint8 of some images by their ids, those that are at hand."""
        if not self.prefix:
            return {}
        # Records need TensorFlow, which tells a notebook's reader of GPUs that it has not found.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from deepmac_ablate.results.report import pixels

        return pixels.load(self.prefix, image_ids)


def find(shown: Sequence[Shown], given: str | None) -> EvaluatedImages:
    """Finds the data set that trials were evaluated on.

    Args:
        shown: The trials, at least one.
        given: The prefix of the data set; None: where the trials found it.

    Raises:
        UserError: If there is no complete data set at `given`, or it is another one.
    """
    results = [TrialWorkdir(it.folder).read_result() or {} for it in shown]
    prefix = given or results[0].get("data_prefix")
    try:
        _check(prefix, {it["dataset"] for it in results if it.get("dataset")})
    except UserError as error:
        if given is not None:
            raise
        return EvaluatedImages("", {}, (
            f"Masks are drawn on grey, as the evaluated images are not at hand: {error} Name the "
            "data set with --data PREFIX to see them."))
    truth = load_annotations(annotations_path(prefix))
    return EvaluatedImages(prefix, {it["id"]: it for it in truth["annotations"]}, "")


def _check(prefix: str | None, expected: Collection[str]) -> None:
    if not prefix:
        raise UserError("The trials do not say where they lie.")
    identity = DatasetInfo.load(prefix).identity
    if set(expected) - {identity}:
        raise UserError(
            f"The data set {prefix} is {identity}, but the trials were evaluated on "
            f"{', '.join(sorted(expected))}.")
