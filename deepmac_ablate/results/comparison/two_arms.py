"""Two arms compared class by class and image by image, with intervals over images and seeds.

::

    compared = compare(results.load("runs/heads"), "default", "hourglass20")
    compared.groups                                      # seen, novel, all: b - a, low, high
    compared.classes.sort_values("difference")           # a row per class
    compared.images.head(10)                             # where b gains most
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.results import instances as kept
from deepmac_ablate.results import statistics
from deepmac_ablate.results.comparison import bootstrap, pairing, scored_images
from deepmac_ablate.results.comparison.bootstrap import Draws
from deepmac_ablate.results.comparison.pairing import Sides, Trials
from deepmac_ablate.results.comparison.scored_images import ScoredImages
from deepmac_ablate.results.loading.per_class import per_class

# Below that, a twentieth of the resamples is no estimate of anything.
_FEWEST_RESAMPLES = 100
# What is beyond comes from the arithmetic, and must not exclude 0.
_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two arms came to, `difference` being always that of the second minus the first.

    Attributes:
        sides: The arms and their trials.
        metric: `<reading>/<metric>`, in [0, 1].
        resamples: How many resamples the intervals are from.
        seed: Of the resamples.
        confidence: Of the intervals, in (0, 1).
        groups: A row per group of classes: `group` (seen, novel, all; where a class has not the
            same role on both sides, such as "novel in A, seen in B"), `count` of classes, and
            `a`, `b`, `difference`, `low`, `high`, `p`, `excludes_zero`: means over classes and
            seeds, the interval, twice the share of resamples on the rarer side of 0, and whether 0
            is outside the interval.
        classes: A row per class that has instances: `category_id`, `name`, `role` (as `group`),
            `instances`, `images` that have one, the columns of `groups`, and `q`: p corrected for
            the number of classes, see `resampling.false_discoveries`.
        images: A row per image, the largest gain first, see `image_changes`; empty where the trials
            have not kept the IoU of each object.
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
) -> Comparison:
    """Compare two arms on the images that both were evaluated on.

    Args:
        frame: The results, see `columns`.
        arm_a: Label of an arm or id of a trial; what the other is compared with.
        arm_b: The other one.
        metric: One of `scored_images.METRICS`.
        resamples: How often to draw images and seeds.
        seed: Of the draws.
        confidence: Of the intervals, in (0, 1).

    Raises:
        UserError: If an argument names nothing, nothing has finished, or files that this needs are
            missing or broken or of different datasets.
    """
    scored_images.check_metric(metric)
    check_at_least(_FEWEST_RESAMPLES, resamples=resamples)
    check_at_least(0, seed=seed)
    statistics.check_confidence(confidence)
    chosen = pairing.choose(frame, arm_a, arm_b)
    scored = scored_images.read(chosen.trials, metric)
    classes = class_roles(frame, chosen)
    side_a, side_b = scored[:len(chosen.trials_a)], scored[len(chosen.trials_a):]
    draws = bootstrap.bootstrap(
        [it.by_class for it in side_a], [it.by_class for it in side_b], chosen.paired,
        len(scored[0].image_ids), resamples, seed)
    observed = Draws(_mean(side_a), _mean(side_b))
    return Comparison(
        chosen, metric, resamples, seed, confidence,
        _groups(scored[0], classes, observed, draws, confidence),
        _classes(scored[0], classes, observed, draws, confidence),
        _image_changes(chosen, classes))


def _mean(side: list[ScoredImages]) -> np.ndarray:
    return np.mean([it.by_class(it.ones) for it in side], axis=0)


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
        **_numbers(observed, draws, confidence)})
    # Nobody can be compared where there is nothing to find.
    table = table[table["instances"] > 0].reset_index(drop=True)
    return table.assign(q=bootstrap.false_discoveries(table["p"].to_numpy()))


def _groups(
    scored: ScoredImages, classes: pd.DataFrame, observed: Draws, draws: Draws, confidence: float
) -> pd.DataFrame:
    role = classes["role"].reindex(scored.class_ids)
    with_instances = ~np.isnan(observed.a)
    present = set(role[with_instances])
    names = [name for name in ORDER if name in present]
    members = [with_instances & (role == name).to_numpy() for name in names] + [with_instances]
    a, b, draws_a, draws_b = (
        np.stack([bootstrap.group_means(values, chosen) for chosen in members], axis=-1)
        for values in (*observed, *draws))
    return pd.DataFrame({
        "group": [*names, "all"], "count": [int(chosen.sum()) for chosen in members],
        **_numbers(Draws(a, b), Draws(draws_a, draws_b), confidence)})


def _numbers(observed: Draws, draws: Draws, confidence: float) -> dict[str, np.ndarray]:
    """Return the columns that classes and groups share, [N] each."""
    differences = np.round(draws.b - draws.a, _DIGITS)
    low, high = bootstrap.percentile_interval(differences, confidence)
    return {
        "a": observed.a, "b": observed.b, "difference": np.round(observed.b - observed.a, _DIGITS),
        "low": low, "high": high, "p": bootstrap.p_values(differences),
        "excludes_zero": (low > 0) | (high < 0)}


# Two arms need not have been trained with the masks of the same classes.
ORDER: tuple[str, ...] = ("seen", "novel", "novel in A, seen in B", "seen in A, novel in B")


def class_roles(frame: pd.DataFrame, sides: Sides) -> pd.DataFrame:
    """Return `name` and `role`, one of `ORDER`, of each class by `category_id`.

    Args:
        frame: The results, see `columns`.
        sides: Two arms of it.

    Raises:
        UserError: If a trial's per_class.csv is missing or broken, or trials of one side do not
            agree on the roles.
    """
    trials = [row["trial"] for row in sides.trials]
    rows = per_class(frame[frame["trial"].isin(trials)])
    # A row for each reading, which agree on the roles.
    rows = rows.drop_duplicates(["trial", "category_id"]).sort_values("category_id")
    tables = {
        trial: table.set_index("category_id")[["name", "role"]]
        for trial, table in rows.groupby("trial")}
    a, b = _side(sides.a, sides.trials_a, tables), _side(sides.b, sides.trials_b, tables)
    other = b["role"].reindex(a.index)
    differ = a["role"] + " in A, " + other + " in B"
    return a.assign(role=a["role"].where(a["role"] == other, differ))


def _side(name: str, trials: Trials, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    for row in trials.values():
        if row["trial"] not in tables:
            raise UserError(f"{row['folder']} lacks per_class.csv, which says which class is seen.")
    of_trials = [tables[row["trial"]] for row in trials.values()]
    if any(not of_trials[0].equals(table) for table in of_trials):
        raise UserError(
            f"The trials of {name!r} do not agree on which classes are seen; compare single trials "
            "by their ids.")
    return of_trials[0]


_COLUMNS = ("image_id", "instances", "a", "b", "difference", "classes")


def _image_changes(sides: Sides, classes: pd.DataFrame) -> pd.DataFrame:
    """Return how much the mean IoU over the annotated masks of each image differs.

    Args:
        sides: What is compared; means over the seeds of each side.
        classes: `name` by `category_id`.

    Returns:
        A row per image, the largest gain of the second side first: `image_id`, `instances`,
        `a`, `b`, `difference` (b - a), and `classes`, the names of its classes, that which
        differs most first. No row where a trial has not kept the IoU of each object.

    Raises:
        UserError: If a file is broken.
    """
    both = []
    for trials in (sides.trials_a.values(), sides.trials_b.values()):
        contents = scored_images.read_files(list(trials), kept.FILE)
        if len(contents) < len(trials):
            return pd.DataFrame(columns=list(_COLUMNS))
        tables = [kept.table(*content) for content in contents.values()]
        objects = pd.concat(tables).groupby(["image_id", "annotation_id", "category_id"])
        both.append(objects["iou"].mean())
    objects = pd.DataFrame({"a": both[0], "b": both[1]}).reset_index()
    objects["difference"] = objects["b"] - objects["a"]
    images = objects.groupby("image_id")
    table = images[["a", "b", "difference"]].mean()
    table.insert(0, "instances", images.size())
    table["classes"] = _names_by_change(objects, classes)
    return table.reset_index().sort_values(
        ["difference", "image_id"], ascending=[False, True], ignore_index=True)


def _names_by_change(objects: pd.DataFrame, classes: pd.DataFrame) -> pd.Series:
    changes = objects.groupby(["image_id", "category_id"])["difference"].sum().reset_index()
    changes["size"] = changes["difference"].abs()
    changes["name"] = classes["name"].reindex(changes["category_id"]).to_numpy()
    ordered = changes.sort_values("size", ascending=False, kind="stable")
    return ordered.groupby("image_id")["name"].agg(", ".join)
