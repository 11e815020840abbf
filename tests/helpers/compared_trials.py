"""Trial folders with the files that comparisons read, and their data frame."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from deepmac_ablate.evaluation.metrics.matches import Matches
from tests.helpers import result_frames

NAMES = {1: "cat", 2: "dog", 3: "cup"}
ROLES = {1: "seen", 2: "novel", 3: "novel"}


def objects(images: int = 12, seed: int = 0) -> pd.DataFrame:
    """Return the IoUs of objects of three classes, one to four on each image."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(1, images + 1), rng.integers(1, 5, images))
    iou = rng.uniform(0.3, 0.8, len(image))
    return pd.DataFrame({
        "reading": "groundtruth", "image_id": image,
        "category_id": rng.integers(1, 4, len(image)), "annotation_id": np.arange(len(image)) + 7,
        "area": 100.0, "iou": iou, "boundary_iou": iou / 2})


def write(
    folder: Path,
    instances: pd.DataFrame | None = None,
    roles: Mapping[int, str] = ROLES,
    matches: Mapping[str, Matches] | None = None,
) -> None:
    """Write the files of an evaluation into a trial's folder."""
    (folder / "matches").mkdir(parents=True)
    classes = pd.DataFrame(
        [(reading, number, NAMES[number], role, 10) for reading in ("detections", "groundtruth")
         for number, role in roles.items()],
        columns=["reading", "category_id", "name", "role", "instances"])
    (folder / "per_class.csv").write_text(classes.to_csv(index=False))
    if instances is not None:
        text = instances.to_csv(index=False)
        (folder / "instances.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name, content in (matches or {}).items():
        (folder / f"matches/{name}.npz").write_bytes(content.to_bytes())


def arms(
    root: Path,
    seeds: Mapping[str, Sequence[int]],
    instances: Callable[[str, int], pd.DataFrame | None],
    roles: Mapping[str, Mapping[int, str]] | None = None,
) -> pd.DataFrame:
    """Write the trials of some arms, and return their data frame.

    Args:
        root: The folder in which the trial folders are created.
        seeds: The seeds of each arm.
        instances: A function from arm and seed to the IoUs of the objects.
        roles: The roles of the classes by arm; `ROLES` for other arms.
    """
    for arm, numbers in seeds.items():
        for seed in numbers:
            write(root / f"{arm}-{seed}", instances(arm, seed), (roles or {}).get(arm, ROLES))
    return listed(root, seeds)


def listed(root: Path, seeds: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Return the data frame of trials in `<root>/<arm>-<seed>`."""
    frame = result_frames.frame(
        *(result_frames.arm(arm, {}, seeds=numbers) for arm, numbers in seeds.items()))
    return frame.assign(folder=[str(root / trial) for trial in frame["trial"]])


def better(
    table: pd.DataFrame, by: float, where: pd.Series | None = None
) -> pd.DataFrame:
    """Return objects whose IoU is higher by `by`, or only those selected by `where`."""
    higher = table["iou"] + by
    return table.assign(iou=higher if where is None else higher.where(where, table["iou"]))
