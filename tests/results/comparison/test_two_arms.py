"""Comparisons of two arms by class and by image, on trial folders with known differences."""

from __future__ import annotations

import numpy as np
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.average_precision import per_class_ap
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.matches import match_detections
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from deepmac_ablate.results.comparison.comparison_rendering import (
    comparison_notes,
    most_changed,
)
from deepmac_ablate.results.comparison.two_arms import compare
from tests.evaluation.metrics.test_average_precision import dataset, square
from tests.helpers import compared_trials
from tests.helpers.compared_trials import NAMES, better, objects
from tests.helpers.noisy_detections import noisy_detections

# pycocotools 2.0 decodes masks in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DRAWS = 100


def test_equal_arms_do_not_differ(tmp_path):
    """Differences and intervals of equal arms are exactly 0, and nothing is marked."""
    frame = compared_trials.arms(tmp_path, {"a": [0, 1], "b": [0, 1]}, lambda *_: objects())
    compared = compare(frame, "a", "b", resamples=DRAWS)
    for table in (compared.groups, compared.classes):
        assert (table[["difference", "low", "high"]] == 0).all(axis=None)
        assert (table["p"] == 1).all()
        assert not table["excludes_zero"].any()
    assert (compared.images["difference"] == 0).all()


def test_values_are_means_over_seeds_objects_and_classes(shifted):
    """The tables agree with means calculated from the files."""
    compared = compare(shifted, "a", "b", resamples=DRAWS)
    table = objects()
    classes = compared.classes.set_index("category_id")
    assert NAMES == classes["name"].to_dict()
    by_class = table.groupby("category_id")
    np.testing.assert_allclose(classes["a"], by_class["iou"].mean() + 0.005)
    np.testing.assert_array_equal(classes["instances"], by_class.size())
    np.testing.assert_array_equal(classes["images"], by_class["image_id"].nunique())
    groups = compared.groups.set_index("group")
    assert {"seen": 1, "novel": 2, "all": 3} == groups["count"].to_dict()
    assert pytest.approx(classes.loc[[2, 3], "b"].mean()) == groups.loc["novel", "b"]
    assert pytest.approx(classes["difference"].mean()) == groups.loc["all", "difference"]


def test_a_shift_is_found_where_it_is(tmp_path):
    """A class that is .1 better on every image has exactly that difference and interval."""
    def instances(arm, seed):
        table = objects(40, seed)
        return better(table, 0.1, table["category_id"] == 2) if arm == "b" else table

    frame = compared_trials.arms(tmp_path, {"a": [3], "b": [3]}, instances)
    compared = compare(frame, "a", "b", resamples=DRAWS)
    dogs = compared.classes.set_index("name").loc["dog"]
    np.testing.assert_allclose(dogs[["difference", "low", "high"]].astype(float), 0.1)
    assert pytest.approx(2 / (DRAWS + 1)) == dogs["p"]
    assert [False, True, False] == compared.classes["excludes_zero"].tolist()
    groups = compared.groups.set_index("group")["difference"]
    assert pytest.approx({"seen": 0, "novel": 0.05, "all": 0.1 / 3}) == groups.to_dict()


def test_boundaries_have_their_own_comparison(shifted):
    """Boundary IoU, equal in both arms, is compared independently of IoU."""
    compared = compare(shifted, "a", "b", "groundtruth/boundary_iou", DRAWS)
    assert (compared.classes["difference"] == 0).all()
    assert (compared.images["difference"] != 0).any()


def test_further_metrics_of_objects_are_compared(tmp_path):
    """Objects without a value are left out; a name that no trial has is told from those there."""
    def instances(arm, seed):
        table = objects(seed=0)
        recall = np.where(table["annotation_id"] % 3 == 0, np.nan, 0.5 + (arm == "b") * 0.1)
        return table.assign(recall=recall)

    frame = compared_trials.arms(tmp_path, {"a": [3], "b": [3]}, instances)
    compared = compare(frame, "a", "b", "groundtruth/recall", DRAWS)
    np.testing.assert_allclose(compared.classes["a"], 0.5)
    np.testing.assert_allclose(compared.classes["b"], 0.6)
    assert ("Arms cannot be compared by 'groundtruth/recal'. Did you mean 'groundtruth/recall'?"
            in refused(frame, "a", "b", "groundtruth/recal"))


def test_images_are_ordered_by_their_gain(shifted):
    """Images are sorted by gain, and the classes of an image by the size of their change."""
    images = compare(shifted, "a", "b", resamples=DRAWS).images
    table = objects()
    assert images["difference"].is_monotonic_decreasing
    assert len(images) == table["image_id"].nunique()
    cats = ((table["image_id"] == 1) & (table["category_id"] == 1)).sum()
    last = images.iloc[-1]
    assert cats
    assert (1, "cat") == (last["image_id"], last["classes"].split(", ")[0])
    size = (table["image_id"] == 1).sum()
    assert size == last["instances"]
    assert pytest.approx(-0.25 * cats / size) == last["difference"]
    gains, losses = most_changed(images, 2)
    assert (2, 1) == (len(gains), len(losses))


def test_roles_that_differ_are_a_group_of_their_own(tmp_path):
    """Classes that only one of the two arms has seen form a separate group."""
    roles = {"b": dict.fromkeys(NAMES, "seen")}
    frame = compared_trials.arms(tmp_path, {"a": [0], "b": [0]}, lambda *_: objects(), roles)
    compared = compare(frame, "a", "b", resamples=DRAWS)
    assert {"seen": 1, "novel in A, seen in B": 2, "all": 3} == (
        compared.groups.set_index("group")["count"].to_dict())
    assert "novel in A, seen in B" == compared.classes["role"][2]


def average_precision_arms(root, seeds=(0, 1)):
    """Write two arms with matches; returns their frame, and the AP of their detections."""
    rng = np.random.default_rng(1)
    truth = dataset(*(
        square(n, int(rng.integers(1, 9)), int(rng.integers(1, 4)), side=40)
        for n in range(1, 40)), images=8)
    ground_truth = GroundTruth.from_coco(truth)
    expected = {}
    for arm in ("a", "b"):
        for seed in seeds:
            overlaps = Overlaps(
                ground_truth, noisy_detections(truth, 10 * seed + (arm == "b")))
            compared_trials.write(root / f"{arm}-{seed}", matches={
                f"detections_{task}": match_detections(overlaps, task)
                for task in ("mask", "box")})
            for task in ("mask", "box"):
                table = per_class_ap(overlaps, task)
                expected[arm, seed, task] = table[f"{task}_ap"].to_numpy()
    return compared_trials.listed(root, {"a": seeds, "b": seeds}), expected


@pytest.mark.parametrize("task", ["mask", "box"])
def test_average_precision_is_computed_from_the_matches(tmp_path, task):
    """The compared AP is that of the detections, and the intervals contain the difference."""
    frame, expected = average_precision_arms(tmp_path)
    compared = compare(frame, "a", "b", f"detections/{task}_ap", DRAWS)
    for arm in ("a", "b"):
        mean = (expected[arm, 0, task] + expected[arm, 1, task]) / 2
        np.testing.assert_allclose(compared.classes[arm], mean, atol=1e-9)
    classes = compared.classes
    assert ((classes["low"] < classes["difference"]) & (classes["difference"] < classes["high"])
            ).all()
    assert len(compared.images) == 0
    assert "Single images are not compared" in comparison_notes(compared)[-1]


def test_trials_can_be_named_by_their_ids(shifted):
    """Ids select single trials, here two seeds of an arm that are .01 apart on every object."""
    compared = compare(shifted, "a-0", "a-1", resamples=DRAWS)
    np.testing.assert_allclose(compared.classes["difference"], 0.01)


def test_seeds_matter_as_much_as_images(tmp_path):
    """The interval of differences of .00, .03 and .06 over three seeds is their range."""
    frame = compared_trials.arms(
        tmp_path, {"a": [0, 1, 2], "b": [0, 1, 2]},
        lambda arm, seed: better(objects(), 0.03 * seed * (arm == "b")))
    row = compare(frame, "a", "b", resamples=400).groups.set_index("group").loc["all"]
    np.testing.assert_allclose(
        row[["difference", "low", "high"]].astype(float), [0.03, 0, 0.06], atol=1e-12)


def test_the_confidence_can_be_chosen(shifted):
    """Intervals of lower confidence are narrower, and the notes state the confidence."""
    wide, narrow = (
        compare(shifted, "a", "b", resamples=DRAWS, confidence=share) for share in (0.95, 0.5))
    width = [
        compared.groups["high"][1] - compared.groups["low"][1] for compared in (wide, narrow)]
    assert 0 < width[1] < width[0]
    assert "50 % percentile intervals over 100 resamples" in comparison_notes(narrow)[1]
    assert "must be between 0 and 1, such as 0.95, got 95." in (
        refused(shifted, "a", "b", confidence=95))


def refused(frame, *args, **fields):
    with pytest.raises(UserError) as raised:
        compare(frame, *args, resamples=fields.pop("resamples", DRAWS), **fields)
    return str(raised.value)


def test_what_cannot_be_compared_is_refused(shifted):
    """Each invalid argument, and each lack of results, has its own message."""
    assert "There is no arm or trial 'bb'. Did you mean 'b'? Known arms are a, b." == (
        refused(shifted, "a", "bb"))
    assert "Both sides are 'a'; pass two different arms or trials." == refused(shifted, "a", "a")
    assert "Arms cannot be compared by 'groundtruth/iuo'. Did you mean 'groundtruth/iou'?" in (
        refused(shifted, "a", "b", "groundtruth/iuo"))
    assert "resamples must be at least 100, got 10." == (
        refused(shifted, "a", "b", resamples=10))
    running = shifted.assign(status=["finished", "finished", "running", "failed"])
    assert "No trial of 'b' has finished yet (1 running, 1 failed)." == (
        refused(running, "a", "b"))
    assert "trial a-0 of 'a' are not available; a comparison needs the workdir" in (
        refused(shifted.assign(folder=""), "a", "b"))
    other = shifted.assign(dataset=["val@1", "val@1", "val@2", "val@2"])
    assert "'a' and 'b' were evaluated on different datasets (val@1, val@2);" in (
        refused(other, "a", "b"))


def test_missing_files_are_named_with_the_command_that_writes_them(shifted, tmp_path):
    """The message about a missing file names the command that writes it."""
    assert (
        "4 of 4 trials have no matches/detections_box.npz, which detections/box_ap needs; "
        f"`deepmac-ablate train --workdir {tmp_path}/a-0 --mode eval` evaluates the first of them "
        "again and writes the file."
    ) == refused(shifted, "a", "b", "detections/box_ap")
    (tmp_path / "b-1/per_class.csv").unlink()
    assert f"{tmp_path}/b-1 has no per_class.csv, which tells seen from novel classes." == (
        refused(shifted, "a", "b"))
    (tmp_path / "b-0/instances.csv.gz").write_bytes(b"cut")
    assert f"{tmp_path}/b-0/instances.csv.gz is broken (" in refused(shifted, "a", "b")


def test_no_objects_are_refused(tmp_path):
    """Trials that were not evaluated in ground-truth boxes cannot be compared by IoU."""
    frame = compared_trials.arms(
        tmp_path, {"a": [0], "b": [0]}, lambda *_: objects().assign(reading="jittered0.1"))
    assert "Trial a-0 was not evaluated on any object with groundtruth/iou" in (
        refused(frame, "a", "b"))


def test_other_images_are_refused(tmp_path):
    """Datasets with the same name but other objects cannot be compared."""
    frame = compared_trials.arms(
        tmp_path, {"a": [0], "b": [0]}, lambda arm, _: objects(10 if arm == "a" else 11))
    assert "Trials a-0 and b-0 were not evaluated on the same images, classes and objects" in (
        refused(frame, "a", "b"))
