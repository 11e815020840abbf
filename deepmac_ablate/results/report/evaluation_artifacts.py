"""What a trial's evaluation left of each annotated object: IoU, and the predicted mask."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.ground_truth import load_annotations
from deepmac_ablate.results import instances as kept
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


class Shown(NamedTuple):
    """The trial that stands for an arm.

    Attributes:
        arm: The label of the arm.
        seed: Of the trial.
        folder: The trial's.
    """

    arm: str
    seed: int
    folder: epath.Path


def trials(arms: Sequence[ArmTrials]) -> list[Shown]:
    """Choose a trial for each arm whose masks are at hand: of the seed that most arms have.

    Returns:
        In the order of the arms, without those that have no finished trial with masks.
    """
    finished = [(arm.label, row) for arm in arms for row in arm.finished if row["folder"]]
    there = storage.entries_of_many(row["folder"] for _, row in finished)
    found = {
        (label, row["seed"]): Shown(label, row["seed"], epath.Path(row["folder"]))
        for label, row in finished
        if {kept.FILE, "masks.json.gz"} <= {entry.name for entry in there[row["folder"]]}}
    count = Counter(seed for _, seed in found)
    chosen: dict[str, Shown] = {}
    for seed in sorted(count, key=lambda seed: (-count[seed], seed)):
        for arm in arms:
            if (arm.label, seed) in found:
                chosen.setdefault(arm.label, found[arm.label, seed])
    return [chosen[arm.label] for arm in arms if arm.label in chosen]


def instances(shown: Shown) -> pd.DataFrame:
    """Return a row for each annotated mask, see `results.instances`.

    With the `name` and `role` of its class, and the `arm` of the trial.

    Raises:
        UserError: If a file is broken.
    """
    path, classes_path = shown.folder / kept.FILE, shown.folder / "per_class.csv"
    rows = kept.parse_instances(storage.read(path) or b"", str(path))
    try:
        with classes_path.open() as file:
            classes = pd.read_csv(file, usecols=["category_id", "name", "role"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"{classes_path} is broken ({error}); evaluate the trial again.") from error
    rows = rows.merge(classes.drop_duplicates("category_id"), on="category_id", how="left")
    return rows.assign(arm=shown.arm)


def predicted(shown: Shown, annotation_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return the masks predicted in the boxes of some annotations, as COCO results by their ids.

    Raises:
        UserError: If the file is broken.
    """
    path = shown.folder / "masks.json.gz"
    try:
        results = json.loads(gzip.decompress(storage.read(path) or b""))
        return {it["annotation_id"]: it for it in results if it["annotation_id"] in annotation_ids}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f"{path} is broken ({error}); evaluate the trial again.") from error


class EvaluatedImages(NamedTuple):
    """A dataset.

    Attributes:
        prefix: Of its files; empty where it is not at hand.
        annotations: By their ids.
        note: Why it is not at hand, and what to do; else empty.
    """

    prefix: str
    annotations: Mapping[int, Mapping[str, Any]]
    note: str

    def pixels(self, image_ids: Collection[int]) -> Mapping[int, np.ndarray]:
        """Return [height, width, 3] uint8 of some images by their ids, those that are at hand."""
        if not self.prefix:
            return {}
        # Records need TensorFlow, which tells a notebook's reader of GPUs that it has not found.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from deepmac_ablate.results.report import pixels

        return pixels.load(self.prefix, image_ids)


def find(shown: Sequence[Shown], given: str | None) -> EvaluatedImages:
    """Find the dataset that trials were evaluated on.

    Args:
        shown: The trials, at least one.
        given: The prefix of the dataset; None: where the trials found it.

    Raises:
        UserError: If there is no complete dataset at `given`, or it is another one.
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
            "dataset with --data PREFIX to see them."))
    truth = load_annotations(annotations_path(prefix))
    return EvaluatedImages(prefix, {it["id"]: it for it in truth["annotations"]}, "")


def _check(prefix: str | None, expected: Collection[str]) -> None:
    if not prefix:
        raise UserError("The trials do not say where they lie.")
    identity = DatasetInfo.load(prefix).identity
    if set(expected) - {identity}:
        raise UserError(
            f"The dataset {prefix} is {identity}, but the trials were evaluated on "
            f"{', '.join(sorted(expected))}.")
