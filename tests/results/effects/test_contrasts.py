"""Planned contrasts and pooled axes, against scipy and sums by hand."""

from __future__ import annotations

import math
import re
import statistics

import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from deepmac_ablate.errors import UserError
from deepmac_ablate.results import axis_effects, contrast, contrast_table, pool
from deepmac_ablate.results.columns import OTHER_PLACES
from deepmac_ablate.results.effects.contrasts import Group
from tests.helpers.result_frames import arm, frame

IOU = "groundtruth/iou"
VALUES = {
    ("a", "x", "h1"): (0.50, 0.52, 0.47), ("a", "x", "h2"): (0.60, 0.61, 0.66),
    ("b", "x", "h1"): (0.55, 0.54, 0.53), ("b", "x", "h2"): (0.62, 0.70, 0.69),
    ("a", "y", "h1"): (0.51, 0.50, 0.50), ("a", "y", "h2"): (0.59, 0.63, 0.60),
    ("b", "y", "h1"): (0.58, 0.60, 0.61), ("b", "y", "h2"): (0.70, 0.69, 0.75)}


def study(values=None):
    """A sweep with the axes head, boxes and half; novel and seen classes differ by 0.1."""
    return frame(*(
        arm("+".join(cell), {
            f"{IOU}/novel": numbers, f"{IOU}/seen": [number + 0.1 for number in numbers]},
            dict(zip(("head", "boxes", "half"), cell, strict=True)), baseline=cell[:2] == ("a", "x")
            and cell[2] == "h1")
        for cell, numbers in (values or VALUES).items()))


def mean(head, boxes, seed):
    """The mean over the halves of a seed."""
    return statistics.fmean(VALUES[head, boxes, half][seed] for half in ("h1", "h2"))


def test_a_contrast_is_a_paired_t_test_over_seeds():
    """The difference b - a in boxes x: three pairs of means over halves, as scipy tests them.

    So does the frame that is not pooled: its groups are means over the halves.
    """
    b, a = ([mean(head, "x", seed) for seed in range(3)] for head in "ba")
    expected = scipy.stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    for one in (study(), pool(study(), "half")):
        found = contrast(
            one, "head", Group({"head": "b", "boxes": "x"}), Group({"head": "a", "boxes": "x"}))
        assert 3 == found.difference.n
        assert math.isclose(expected.pvalue, found.difference.p, rel_tol=1e-6)
        assert math.isclose(interval.low, found.difference.low, rel_tol=1e-6)
    assert (("b+x",), ("a+x",)) == found.arms


def test_random_splits_of_the_same_images_are_correlated():
    """Nadeau and Bengio (2003): the variance of the mean is (1/n + evaluated / trained) sd²."""
    b, a = ([mean(head, "x", seed) for seed in range(3)] for head in "ba")
    differences = [one - other for one, other in zip(b, a, strict=True)]
    error = statistics.stdev(differences) * math.sqrt(1 / 3 + 51 / 105)
    expected = statistics.fmean(differences)
    found = contrast(
        study(), "head", Group({"head": "b", "boxes": "x"}), Group({"head": "a", "boxes": "x"}),
        evaluated_per_trained=51 / 105).difference
    low, high = scipy.stats.t.interval(0.95, 2, expected, error)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(expected / error, 2), rel=1e-6)


def test_groups_are_means_and_more_groups_make_a_difference_of_differences():
    """(b - a in y) - (b - a in x), and b - a as a mean over boxes; novel - seen cancels here."""
    pooled = pool(study(), "half")

    def group(on="novel", **levels):
        return Group(levels, on)

    both = contrast(pooled, "both", [group(head="b", boxes="y"), group(head="a", boxes="x")],
                    [group(head="a", boxes="y"), group(head="b", boxes="x")])
    per_seed = [
        mean("b", "y", s) - mean("a", "y", s) - mean("b", "x", s) + mean("a", "x", s)
        for s in range(3)]
    assert math.isclose(sum(per_seed) / 3, both.difference.mean, rel_tol=1e-9)
    of_boxes = contrast(pooled, "mean", group(head="b"), group(head="a", boxes=("x", "y")))
    assert (("b+x", "b+y"), ("a+x", "a+y")) == of_boxes.arms
    effects = axis_effects(pooled, IOU)
    [effect] = [row for row in effects.rows if row.on == "novel" and row.changes[0].level == "b"]
    assert effect.difference == of_boxes.difference
    gap = contrast(pooled, "gap", [group(head="b"), group("seen", head="a")],
                   [group(head="a"), group("seen", head="b")])
    assert math.isclose(0, gap.difference.mean, abs_tol=1e-9)


def test_a_table_corrects_all_contrasts_together():
    """Holm's correction over two sweeps, as statsmodels does it."""
    pooled = pool(study(), "half")
    twice = {cell: [value * 2 for value in values] for cell, values in VALUES.items()}
    other = pool(study(twice), "half")
    found = [
        contrast(a_frame, f"{number} {boxes}", Group({"head": "b", "boxes": boxes}),
                 Group({"head": "a", "boxes": boxes}))
        for number, a_frame in enumerate((pooled, other)) for boxes in ("x", "y")]
    table = contrast_table(found)
    assert list(table["name"]) == ["0 x", "0 y", "1 x", "1 y"]
    expected = multipletests(table["p"], method="holm")[1]
    assert expected.tolist() == pytest.approx(table["p_holm"].tolist(), rel=1e-9)
    assert (table["p_holm"] > table["p"]).all()


def test_trials_of_a_seed_become_their_mean():
    """Metrics are averaged, the axis is gone; an unfinished trial makes the mean unfinished."""
    whole = study()
    whole.loc[whole["arm"] == "b+y+h2", ["status", f"{IOU}/novel"]] = ["running", None]
    pooled = pool(whole, "half")
    assert "half" not in pooled
    assert {"a+x", "b+x", "a+y", "b+y"} == set(pooled["arm"])
    assert whole.dtypes.drop("half").to_dict() == pooled.dtypes.to_dict()
    [row] = pooled[(pooled["arm"] == "a+y") & (pooled["seed"] == 1)].to_dict("records")
    assert math.isclose(mean("a", "y", 1), row[f"{IOU}/novel"])
    assert math.isclose(mean("a", "y", 1) + 0.1, row[f"{IOU}/seen"])
    assert ("a+y+h1-1+a+y+h2-1", "finished", 100) == (row["trial"], row["status"], row["steps"])
    unfinished = pooled[pooled["arm"] == "b+y"]
    assert ["running"] * 3 == unfinished["status"].tolist()
    assert unfinished[f"{IOU}/novel"].isna().all()
    assert pooled["baseline"].tolist() == [True] * 3 + [False] * 9


def test_trials_with_different_seeds_are_replicates():
    """As those of random parts of the images are; levels that are not named are left out."""
    halves = frame(*(
        arm(f"{head}+{half}", {f"{IOU}/novel": VALUES[head, "x", half]},
            {"head": head, "half": half}, seeds=[first, first + 1, first + 2])
        for head in "ab" for half, first in (("h1", 0), ("h2", 3))))
    pooled = pool(halves, "half")
    found = contrast(pooled, "head", Group({"head": "b"}), Group({"head": "a"}))
    b, a = ([*VALUES[head, "x", "h1"], *VALUES[head, "x", "h2"]] for head in "ba")
    assert 6 == found.difference.n
    assert math.isclose(scipy.stats.ttest_rel(b, a).pvalue, found.difference.p, rel_tol=1e-6)
    assert halves["trial"].tolist() == pooled["trial"].tolist()
    assert [3, 4, 5] * 2 == pool(halves, "half", ["h2"])["seed"].tolist()


def test_a_trial_of_several_sweeps_is_pooled_in_each():
    """With the arm that it is there."""
    whole = study()
    shared = [trial for trial in whole["trial"] if trial.startswith("a+x")]
    whole.attrs[OTHER_PLACES] = {
        trial: [{"sweep": "other", "arm": trial[:-2].replace("a+x", "old+x"), "baseline": True}]
        for trial in shared}
    pooled = pool(whole, "half")
    other = pooled[pooled["sweep"] == "other"]
    assert ["old+x"] * 3 == other["arm"].tolist()
    assert other[f"{IOU}/novel"].tolist() == pytest.approx([mean("a", "x", s) for s in range(3)])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pool(study(), "halves"),
     "The results have no axis 'halves'. Did you mean 'half'?"),
    (lambda: pool(frame(arm("a", {f"{IOU}/novel": (0.1, 0.2, 0.3)})), "axis"),
     "axis is the only axis; without it there is nothing to compare."),
    (lambda: pool(study(), "half", ["h3"]), "half has no level 'h3'."),
    (lambda: contrast(study(), "n", Group({"haed": "b"}), Group({"head": "a"})),
     "The contrast 'n' is about an axis 'haed' that the results lack. Did you mean 'head'? They "
     "have head, boxes, half."),
    (lambda: contrast(study(), "n", Group({"head": "c"}), Group({"head": "a"})),
     "The contrast 'n': head has no level 'c'. It has a, b."),
    (lambda: contrast(study(), "n", [Group({"head": "b"})] * 2, Group({"head": "a"})),
     "The contrast 'n' adds 2 and subtracts 1 groups of arms; it needs as many of both."),
    (lambda: contrast(study({("a", "x", "h1"): VALUES["a", "x", "h1"],
                             ("b", "y", "h1"): VALUES["b", "y", "h1"]}), "n",
                      Group({"head": "a", "boxes": "y"}), Group({"head": "a"})),
     "The contrast 'n': no arm has the levels {'head': 'a', 'boxes': 'y'}."),
])
def test_a_mistake_is_named(call, message):
    """The contrast, what is wrong with it, and what there is."""
    with pytest.raises(UserError, match=re.escape(message)):
        call()
