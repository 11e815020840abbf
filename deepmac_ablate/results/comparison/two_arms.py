"""Comparison of two arms by class and by image, with intervals over images and seeds.

::

    compared = compare(results.load("runs/heads"), "default", "hourglass20")
    compared.groups                                      # seen, novel, all: b - a, low, high
    compared.classes.sort_values("difference")           # one row per class
    compared.images.head(10)                             # the largest gains of b
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.results import instances as instance_ious
from deepmac_ablate.results import statistics
from deepmac_ablate.results.comparison import bootstrap, pairing, scored_images
from deepmac_ablate.results.comparison.bootstrap import Draws
from deepmac_ablate.results.comparison.pairing import Sides, Trials
from deepmac_ablate.results.comparison.scored_images import ScoredImages
from deepmac_ablate.results.loading.per_class import per_class

# With fewer resamples, the ends of a 95 % interval rest on too few of them.
_MIN_RESAMPLES = 100
# Further decimals are rounding errors, which must not exclude 0.
_DIGITS = 12
# Groups of classes in the order in which they are shown; the two arms may have been trained with
# the masks of different classes.
ROLE_ORDER = ("seen", "novel", "novel in A, seen in B", "seen in A, novel in B")
_IMAGE_COLUMNS = ("image_id", "instances", "a", "b", "difference", "classes")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison of two arms; `difference` is always the second minus the first.

    Attributes:
        sides: The arms and their trials.
        metric: The metric as `<box source>/<metric>`, in [0, 1].
        resamples: The number of resamples of the intervals.
        seed: The seed of the resamples.
        confidence: The confidence of the intervals, in (0, 1).
        groups: One row per group of classes: `group` ("seen", "novel", "all", or for classes whose
            roles differ between the sides one such as "novel in A, seen in B"), the `count` of
            classes, the means `a` and `b` over classes and seeds, their `difference`, the ends
            `low` and `high` of its interval, its `p` value, and `excludes_zero`, which is true if 0
            is outside the interval.
        classes: One row per class with instances: `category_id`, `name`, `role` (as `group`), the
            number of `instances` and of `images` that contain one, the columns of `groups`, and
            `q`, the p value corrected for the number of classes by `bootstrap.benjamini_hochberg`.
        images: One row per image, the largest gain first: `image_id`, the number of `instances`,
            the mean IoU `a` and `b` of their masks, their `difference`, and the names of the
            `classes` of the image; empty if a trial has no instances.csv.gz.
    """

    sides: Sides
    metric: str
    resamples: int
    seed: int
    confidence: float
    groups: pd.DataFrame
    classes: pd.DataFrame
    images: pd.DataFrame


def compare(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    metric: str = "groundtruth/iou",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    frame_b: pd.DataFrame | None = None,
) -> Comparison:
    """Compare two arms on the images that both were evaluated on.

    Args:
        frame: The results, see `columns`.
        arm_a: The label of an arm or the id of a trial, to compare with.
        arm_b: The label of the arm or the id of the trial that is compared.
        metric: A metric that `scored_images.read_scored_images` knows.
        resamples: The number of draws of images and seeds, at least 100.
        seed: The seed of the draws.
        confidence: The confidence of the intervals, in (0, 1).
        frame_b: The results of another workdir that has `arm_b`; None means `frame`.

    Raises:
        UserError: If an argument is invalid, no trial of an arm has finished, the files that the
            comparison needs are missing or broken, or the datasets differ.
    """
    check_at_least(_MIN_RESAMPLES, resamples=resamples)
    check_at_least(0, seed=seed)
    statistics.check_confidence(confidence)
    sides = pairing.pair_sides(frame, arm_a, arm_b, frame_b)
    scored = scored_images.read_scored_images(sides.trials, metric)
    classes = class_roles(frame if frame_b is None else pd.concat([frame, frame_b]), sides)
    side_a, side_b = scored[:len(sides.trials_a)], scored[len(sides.trials_a):]
    draws = bootstrap.bootstrap(
        [trial.by_class for trial in side_a], [trial.by_class for trial in side_b], sides.paired,
        len(scored[0].image_ids), resamples, seed)
    observed = Draws(_mean_by_class(side_a), _mean_by_class(side_b))
    return Comparison(
        sides, metric, resamples, seed, confidence,
        _groups(scored[0], classes, observed, draws, confidence),
        _classes(scored[0], classes, observed, draws, confidence),
        _image_changes(sides, classes))


def class_roles(frame: pd.DataFrame, sides: Sides) -> pd.DataFrame:
    """Return the `name` and the `role`, one of `ROLE_ORDER`, of each class by `category_id`.

    Args:
        frame: The results, see `columns`.
        sides: Two arms of the frame.

    Raises:
        UserError: If a trial's per_class.csv is missing or broken, or trials of one side have
            different roles.
    """
    trials = [row["trial"] for row in sides.trials]
    rows = per_class(frame[frame["trial"].isin(trials)])
    # The roles do not depend on the box source, so one row per trial and class is enough.
    rows = rows.drop_duplicates(["trial", "category_id"]).sort_values("category_id")
    tables = {
        trial: table.set_index("category_id")[["name", "role"]]
        for trial, table in rows.groupby("trial")}
    a = _side_roles(sides.a, sides.trials_a, tables)
    b = _side_roles(sides.b, sides.trials_b, tables)
    other = b["role"].reindex(a.index)
    differ = a["role"] + " in A, " + other + " in B"
    return a.assign(role=a["role"].where(a["role"] == other, differ))


def _side_roles(name: str, trials: Trials, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    for row in trials.values():
        if row["trial"] not in tables:
            raise UserError(
                f"{row['folder']} has no per_class.csv, which tells seen from novel classes.")
    of_trials = [tables[row["trial"]] for row in trials.values()]
    if any(not of_trials[0].equals(table) for table in of_trials):
        raise UserError(
            f"The trials of {name!r} have different seen classes; compare single trials by their "
            "ids.")
    return of_trials[0]


def _mean_by_class(side: list[ScoredImages]) -> np.ndarray:
    return np.mean([trial.by_class(trial.ones) for trial in side], axis=0)


def _classes(
    scored: ScoredImages, classes: pd.DataFrame, observed: Draws, draws: Draws, confidence: float
) -> pd.DataFrame:
    of_class = scored.instances[:, 1]
    images = np.unique(scored.instances, axis=0)[:, 1]
    size = len(scored.class_ids)
    table = pd.DataFrame({
        "category_id": scored.class_ids,
        "name": classes["name"].reindex(scored.class_ids).to_numpy(),
        "role": classes["role"].reindex(scored.class_ids).to_numpy(),
        "instances": np.bincount(of_class, minlength=size),
        "images": np.bincount(images, minlength=size),
        **_statistics(observed, draws, confidence)})
    table = table[table["instances"] > 0].reset_index(drop=True)
    return table.assign(q=bootstrap.benjamini_hochberg(table["p"].to_numpy()))


def _groups(
    scored: ScoredImages, classes: pd.DataFrame, observed: Draws, draws: Draws, confidence: float
) -> pd.DataFrame:
    role = classes["role"].reindex(scored.class_ids)
    with_instances = ~np.isnan(observed.a)
    present = set(role[with_instances])
    names = [name for name in ROLE_ORDER if name in present]
    members = [with_instances & (role == name).to_numpy() for name in names] + [with_instances]
    a, b, draws_a, draws_b = (
        np.stack([bootstrap.group_means(values, chosen) for chosen in members], axis=-1)
        for values in (*observed, *draws))
    return pd.DataFrame({
        "group": [*names, "all"], "count": [int(chosen.sum()) for chosen in members],
        **_statistics(Draws(a, b), Draws(draws_a, draws_b), confidence)})


def _statistics(observed: Draws, draws: Draws, confidence: float) -> dict[str, np.ndarray]:
    """Return the columns that classes and groups share, [N] each."""
    differences = np.round(draws.b - draws.a, _DIGITS)
    low, high = bootstrap.percentile_interval(differences, confidence)
    return {
        "a": observed.a, "b": observed.b, "difference": np.round(observed.b - observed.a, _DIGITS),
        "low": low, "high": high, "p": bootstrap.p_values(differences),
        "excludes_zero": (low > 0) | (high < 0)}


def _image_changes(sides: Sides, classes: pd.DataFrame) -> pd.DataFrame:
    """Return the change of the mean mask IoU of each image, see `Comparison.images`.

    Args:
        sides: The two sides; IoUs are means over the seeds of each side.
        classes: The `name` of each class by `category_id`; the class of an image whose IoU changes
            most is named first.

    Raises:
        UserError: If a file is broken.
    """
    both = []
    for trials in (sides.trials_a.values(), sides.trials_b.values()):
        contents = scored_images.read_trial_files(list(trials), instance_ious.FILE)
        if len(contents) < len(trials):
            return pd.DataFrame(columns=list(_IMAGE_COLUMNS))
        tables = [instance_ious.parse_instances(*content) for content in contents.values()]
        objects = pd.concat(tables).groupby(["image_id", "annotation_id", "category_id"])
        both.append(objects["iou"].mean())
    objects = pd.DataFrame({"a": both[0], "b": both[1]}).reset_index()
    objects["difference"] = objects["b"] - objects["a"]
    images = objects.groupby("image_id")
    table = images[["a", "b", "difference"]].mean()
    table.insert(0, "instances", images.size())
    table["classes"] = _class_names_by_change(objects, classes)
    return table.reset_index().sort_values(
        ["difference", "image_id"], ascending=[False, True], ignore_index=True)


def _class_names_by_change(objects: pd.DataFrame, classes: pd.DataFrame) -> pd.Series:
    changes = objects.groupby(["image_id", "category_id"])["difference"].sum().reset_index()
    changes["size"] = changes["difference"].abs()
    changes["name"] = classes["name"].reindex(changes["category_id"]).to_numpy()
    ordered = changes.sort_values("size", ascending=False, kind="stable")
    return ordered.groupby("image_id")["name"].agg(", ".join)
