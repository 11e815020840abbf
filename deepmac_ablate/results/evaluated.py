"""What a trial's evaluation left of each annotated object: IoU, and the predicted mask."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError

_READING = "groundtruth"
_INSTANCES = ["annotation_id", "image_id", "category_id", "iou"]


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


def trials(frame: pd.DataFrame, arms: Collection[str]) -> list[Shown]:
    """Chooses a trial for each arm whose masks are at hand: of the seed that most arms have.

    Args:
        frame: As `columns` says.
        arms: Which ones; those without a finished trial with masks are left out.

    Returns:
        In the order of `arms`.
    """
    finished = frame[(frame["status"] == "finished") & (frame["folder"].fillna("") != "")]
    found = [
        Shown(str(it.arm), int(it.seed), epath.Path(it.folder))
        for it in finished[["arm", "seed", "folder"]].itertuples(index=False) if it.arm in arms]
    found = [
        shown for shown in found
        if all((shown.folder / name).exists() for name in ("instances.csv.gz", "masks.json.gz"))]
    seeds = sorted({shown.seed for shown in found})
    best = max(seeds, default=0, key=lambda seed: sum(shown.seed == seed for shown in found))
    chosen: dict[str, Shown] = {}
    for shown in sorted(found, key=lambda shown: (shown.seed != best, shown.seed)):
        chosen.setdefault(shown.arm, shown)
    return [chosen[arm] for arm in arms if arm in chosen]


def instances(shown: Shown) -> pd.DataFrame:
    """Returns a row for each annotated mask: `annotation_id`, `image_id`, `category_id`, `iou`.

    With the `name` and `role` of its class, and the `arm` of the trial.

    Raises:
        UserError: If a file is broken.
    """
    path = shown.folder / "instances.csv.gz"
    classes_path = shown.folder / "per_class.csv"
    try:
        with gzip.open(path.open("rb"), "rt") as file:
            rows = pd.read_csv(file)
        with classes_path.open() as file:
            classes = pd.read_csv(file, usecols=["category_id", "name", "role"])
        rows = rows.loc[rows["reading"] == _READING, _INSTANCES]
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise UserError(
            f"{path} or {classes_path.name} beside it is broken ({error}); evaluate the trial "
            "again.") from error
    rows = rows.merge(classes.drop_duplicates("category_id"), on="category_id", how="left")
    return rows.assign(arm=shown.arm)


def predicted(shown: Shown, annotation_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Returns the masks predicted in the boxes of some annotations, as COCO results by their ids.

    Raises:
        UserError: If the file is broken.
    """
    path = shown.folder / "masks.json.gz"
    try:
        results = json.loads(gzip.decompress(storage.read(path) or b""))
        return {it["annotation_id"]: it for it in results if it["annotation_id"] in annotation_ids}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f"{path} is broken ({error}); evaluate the trial again.") from error
