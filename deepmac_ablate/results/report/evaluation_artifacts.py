"""Artifacts of a trial's evaluation for each annotated object: IoU and predicted mask."""

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

from deepmac_ablate.data import masks
from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.data.trial_dataset import find_trial_dataset
from deepmac_ablate.errors import UserError, shorten
from deepmac_ablate.evaluation.metrics.ground_truth import load_annotations
from deepmac_ablate.results import instances as kept
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.loading.per_class import parse_per_class
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.disk import StorageError
from deepmac_ablate.storage.strict_json import list_of, number
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_BOX = list_of(number(-1e6, 1e6))


class RepresentativeTrial(NamedTuple):
    """Trial whose masks represent an arm.

    Attributes:
        arm: Label of the arm.
        seed: Seed of the trial.
        folder: Folder of the trial.
    """

    arm: str
    seed: int
    folder: epath.Path


def choose_trials(arms: Sequence[ArmTrials]) -> list[RepresentativeTrial]:
    """Choose a finished trial with masks for each arm, of the seed that most arms share.

    Returns:
        The trials in the order of the arms, without arms that have no such trial.
    """
    finished = [(arm.label, row) for arm in arms for row in arm.finished if row["folder"]]
    # A folder that cannot be listed shows no masks.
    there = file_io.list_folders((row["folder"] for _, row in finished), unreadable={})
    found = {
        (label, row["seed"]): RepresentativeTrial(label, row["seed"], epath.Path(row["folder"]))
        for label, row in finished
        if {kept.FILE, "masks.json.gz"} <= {entry.name for entry in there[row["folder"]]}}
    count = Counter(seed for _, seed in found)
    chosen: dict[str, RepresentativeTrial] = {}
    for seed in sorted(count, key=lambda seed: (-count[seed], seed)):
        for arm in arms:
            if (arm.label, seed) in found:
                chosen.setdefault(arm.label, found[arm.label, seed])
    return [chosen[arm.label] for arm in arms if arm.label in chosen]


def read_instances(trial: RepresentativeTrial) -> pd.DataFrame:
    """Read the IoU of each annotated mask.

    Returns:
        The columns of `results.instances`, with the `name` and `role` of the class and the `arm`.

    Raises:
        UserError: If a file is broken.
    """
    path, classes_path = trial.folder / kept.FILE, trial.folder / "per_class.csv"
    rows = kept.parse_instances(file_io.read(path) or b"", str(path))
    if rows.empty:
        raise UserError(
            f"{path} is broken: it has no object in ground-truth boxes; evaluate the trial again.")
    header, _, lines = (file_io.read(classes_path) or b"").partition(b"\n")
    classes = parse_per_class(header, lines, str(classes_path))[["category_id", "name", "role"]]
    rows = rows.merge(classes.drop_duplicates("category_id"), on="category_id", how="left")
    return rows.assign(arm=trial.arm)


def read_predicted_masks(
    trial: RepresentativeTrial, annotation_ids: Collection[int]
) -> dict[int, dict[str, Any]]:
    """Read the masks predicted in the boxes of some annotations.

    Returns:
        COCO results by annotation id.

    Raises:
        UserError: If the file is broken.
    """
    path = trial.folder / "masks.json.gz"
    try:
        results = json.loads(gzip.decompress(file_io.read(path) or b""))
        found = {
            result["annotation_id"]: result for result in results
            if result["annotation_id"] in annotation_ids}
        for result in found.values():
            _check_mask(result)
    except StorageError:
        raise
    except (
        OSError, EOFError, ValueError, LookupError, TypeError, RecursionError, zlib.error,
    ) as error:
        raise UserError(f"{path} is broken ({error}); evaluate the trial again.") from error
    return found


def _check_mask(result: Mapping[str, Any]) -> None:
    """Raise an error unless a mask and its box can be drawn."""
    if not _BOX.matches(result["bbox"]) or len(result["bbox"]) != 4:
        raise ValueError(f"a box must be {_BOX.meaning}, got {shorten(result['bbox'])}")
    height, width = result["segmentation"]["size"]
    masks.decode_segmentation(result["segmentation"], height, width)


class EvaluatedDataset(NamedTuple):
    """Dataset that trials were evaluated on, as far as it is available here.

    Attributes:
        prefix: Prefix of its files; empty if it is not available.
        annotations: Annotations by id.
        note: Why it is not available, and what to do about it; otherwise empty.
    """

    prefix: str
    annotations: Mapping[int, Mapping[str, Any]]
    note: str

    def read_pixels(self, image_ids: Collection[int]) -> Mapping[int, np.ndarray]:
        """Return [height, width, 3] uint8 by image id, for those images that are available."""
        if not self.prefix:
            return {}
        # Records need TensorFlow, which would tell the reader of a notebook about missing GPUs.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from deepmac_ablate.data.evaluation_data import EvaluationData

        return dict(EvaluationData(self.prefix).images(image_ids))


def find_dataset(
    trials: Sequence[RepresentativeTrial], prefix: str | None
) -> EvaluatedDataset:
    """Return the dataset that trials were evaluated on.

    Args:
        trials: The trials, at least one.
        prefix: Prefix of the dataset; None takes the one that the trials recorded.

    Raises:
        UserError: If there is no complete dataset at `prefix`, or it is a different one.
    """
    folders = [TrialWorkdir(trial.folder) for trial in trials]
    results = [folder.read_result() or {} for folder in folders]
    candidate = prefix or results[0].get("data_prefix")
    try:
        if candidate and prefix is None:
            candidate = find_trial_dataset(candidate, folders[0], results[0].get("dataset"))
        _check(candidate, {result["dataset"] for result in results if result.get("dataset")})
    except UserError as error:
        if prefix is not None:
            raise
        return EvaluatedDataset("", {}, (
            f"Masks are drawn on grey because the evaluated images are not available: {error} "
            "Pass the dataset with --data PREFIX to show them."))
    annotations = load_annotations(annotations_path(candidate))["annotations"]
    return EvaluatedDataset(
        candidate, {annotation["id"]: annotation for annotation in annotations}, "")


def _check(prefix: str | None, expected: Collection[str]) -> None:
    if not prefix:
        raise UserError("The trials do not record where their dataset is.")
    identity = DatasetInfo.load(prefix).identity
    if set(expected) - {identity}:
        raise UserError(
            f"The dataset {prefix} is {identity}, but the trials were evaluated on "
            f"{', '.join(sorted(expected))}.")
