"""Tables of arms: means, differences, gaps and retention by hand, and what is said under them."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.formats import markdown
from deepmac_ablate.results.tables import rendering as table_cells
from deepmac_ablate.results.tables.arm_table import arm_table
from tests.helpers.result_frames import arm, cells_of, frame, per_class

IOU = "groundtruth/iou"
AP = "detections/mask_ap"


def iou(novel, seen):
    return {f"{IOU}/novel": novel, f"{IOU}/seen": seen}


def text(table) -> str:
    return markdown(table_cells.document(table))


def caption(table) -> str:
    return "\n".join(table_cells.document(table).caption)


TWO_ARMS = frame(
    arm("base", iou([0.5, 0.52, 0.51], [0.6, 0.61, 0.62]), baseline=True),
    arm("deep", iou([0.55, 0.58, 0.57], [0.6, 0.63, 0.62])))


def test_means_intervals_and_differences_by_hand():
    """Differences 0.05, 0.06, 0.06 on novel classes: t(0.975, 2) = 4.3027 times sd / sqrt(3)."""
    base, deep = arm_table(TWO_ARMS).rows
    assert (base.baseline, deep.baseline) == (True, False)
    assert base.scores[IOU].novel.difference is None
    found = deep.scores[IOU].novel.difference
    half = 4.3027 * statistics.stdev([0.05, 0.06, 0.06]) / math.sqrt(3)
    assert (0.17 / 3, 0.17 / 3 - half, 0.17 / 3 + half) == pytest.approx(found[:3], abs=1e-5)
    assert "base" == deep.against
    shown = text(arm_table(TWO_ARMS))
    # Novel: 0.567 with sd 0.0153; half width 2.484 sd.
    assert ["56.7 ± 3.8", "+5.7 ± 1.4"] == cells_of(shown, "deep")[0][:2]
    assert ["51.0 ± 2.5", "-", "-"] == cells_of(shown, "base *")[0][:3]


def test_the_gap_is_taken_within_each_seed():
    """Gaps of 0.05, 0.05, 0.05 have no width, though seen and novel scatter."""
    gap = arm_table(TWO_ARMS).rows[1].scores[IOU].gap
    assert (0.05, 0.0) == pytest.approx((gap.mean, gap.high - gap.low), abs=1e-9)


def test_holm_counts_the_comparisons_of_the_table():
    """Two metrics, two groups of classes, two arms beside the baseline: eight."""
    numbers = [
        {f"{metric}/{classes}": [place + 0.01 * seed**power for seed in range(3)]
         for place, metric in ((0.2, IOU), (0.3, AP)) for classes in ("novel", "seen")}
        for power in (1, 2, 3)]
    table = arm_table(frame(
        arm("a", numbers[0], baseline=True), arm("b", numbers[1]), arm("c", numbers[2])))
    scores = [
        getattr(row.scores[metric], classes)
        for row in table.rows[1:] for metric in (IOU, AP) for classes in ("novel", "seen")]
    expected = multipletests([score.difference.p for score in scores], method="holm")[1]
    assert list(expected) == [score.p_holm for score in scores]
    assert 8 == table.comparisons
    assert "Holm over 8 comparisons" in caption(table)


def test_a_half_finished_sweep_hides_nothing():
    """Failed and missing trials are counted, and differences are of the seeds that both have."""
    table = arm_table(frame(
        arm("base", iou([0.5, 0.52, None], [0.6, 0.61, None]), baseline=True,
            statuses=["finished", "finished", "failed"]),
        arm("deep", iou([None, 0.58, 0.57], [None, 0.63, 0.62]),
            statuses=["running", "finished", "finished"]),
        arm("wide", {}, statuses=["new", "new", "interrupted"])))
    shown = text(table)
    assert ["2/3, 1 failed"] == cells_of(shown, "base *")[-1]
    assert ["2/3, 1 running"] == cells_of(shown, "deep")[-1]
    assert ["0/3, 1 interrupted, 2 missing"] == cells_of(shown, "wide")[-1]
    # Only seed 1 is shared: 0.58 - 0.52, and no interval.
    assert "+6.0 (n 1)" == cells_of(shown, "deep")[0][1]
    assert table.rows[1].scores[IOU].novel.difference.p is None
    assert ["-"] * 4 == cells_of(shown, "wide")[0]
    assert "(n 2): over 2 seeds, as others" in caption(table)


def test_a_metric_that_some_seeds_lack_shows_its_seeds():
    """Over two of three finished trials."""
    table = arm_table(frame(arm("a", iou([0.5, None, 0.6], [0.1, 0.2, 0.3]))))
    assert cells_of(text(table), "a")[0][0].endswith("(n 2)")
    assert "No arm is the baseline, so there are no differences." in caption(table)


def test_one_seed_has_no_interval_and_that_is_said():
    """Neither ± nor p, in one narrow table per metric."""
    shown = text(arm_table(TWO_ARMS[TWO_ARMS["seed"] == 0]))
    assert ["55.0", "+5.0", "60.0", "+0.0", "5.0"] == cells_of(shown, "deep")[0]
    assert "One seed an arm: nobody knows how much is chance." in shown
    assert "±" not in shown
    assert "| p |" not in shown


def test_arms_of_one_seed_among_others_are_named():
    """The others keep their intervals."""
    table = arm_table(frame(
        arm("a", iou([0.1, 0.2], [0.1, 0.2]), seeds=(0, 1)),
        arm("b", iou([0.1], [0.2]), seeds=[0])))
    assert "One seed only, so nobody knows how much is chance: b." in caption(table)
    assert "±: 95 % t interval over seeds: holds training's randomness, not" in caption(table)


def test_a_sweep_in_which_nothing_has_finished():
    """Its trials are there, and a sentence."""
    shown = text(arm_table(frame(arm("a", {}, statuses=["new", "new", "running"]))))
    assert ["0/3, 1 running, 2 missing"] == cells_of(shown, "a")[0]
    assert "No trial has finished yet." in shown


def supervised(axis_levels=("x", "x"), **fields):
    """A novel-class arm and a fully supervised one of three classes; seed 1 is the latter's only.

    Novel are b and c. By hand: seed 0 keeps (0.2 + 0.4) / (0.4 + 0.4) = 0.75, seed 2 keeps
    (0.3 + 0.3) / (0.5 + 0.3) = 0.75 and of class c alone 1.
    """
    rows = frame(
        arm("part", iou([0.3, 0.3], [0.8, 0.8]), seeds=(0, 2), baseline=True,
            levels={"masks": "some", "head": axis_levels[0]}),
        arm("full", iou([None] * 3, [0.5] * 3), seeds=(0, 1, 2),
            levels={"masks": "all", "head": axis_levels[1]}, **fields))
    some = per_class(
        ["part-0", "part-2"], {"a": "seen", "b": "novel", "c": "novel"},
        {"a": [0.8, 0.8], "b": [0.2, 0.3], "c": [0.4, 0.3]})
    every = per_class(
        ["full-0", "full-1", "full-2"], dict.fromkeys("abc", "seen"),
        {"a": [0.9] * 3, "b": [0.4, 0.1, 0.5], "c": [0.4, 0.1, 0.3]})
    return rows, some, every


def joined(*tables):
    return pd.concat(tables, ignore_index=True)


def test_retention_by_hand():
    """By seed, over the arm's novel classes in both; the supervised arm has none itself."""
    rows, some, every = supervised()
    part, full = arm_table(rows, per_class=joined(some, every)).rows
    assert (0.75, 0.0, 2) == pytest.approx(
        (part.scores[IOU].retention.mean, part.scores[IOU].retention.sd, 2), abs=1e-12)
    assert 2 == part.scores[IOU].retention.n
    assert (None, 0) == (full.all_arm, full.scores[IOU].retention.n)
    shown = text(arm_table(rows, per_class=joined(some, every)))
    assert ["75.0 ± 0.0"] == [cells_of(shown, "part *")[1][-1]]
    assert "in the arm that saw all masks, full." in shown


def test_retention_leaves_out_classes_without_a_number():
    """On both sides: class b has none in seed 2, so c alone counts, 0.3 / 0.3."""
    rows, some, every = supervised()
    some.loc[(some["trial"] == "part-2") & (some["name"] == "b"), "iou"] = None
    shares = arm_table(rows, per_class=joined(some, every)).rows[0].scores[IOU].retention
    assert statistics.fmean([0.75, 1.0]) == pytest.approx(shares.mean)


def test_the_supervised_arm_that_agrees_on_all_other_axes_is_taken():
    """Of two, the one with the arm's own head; where none agrees, nothing is made up."""
    rows, some, every = supervised()
    other = arm("other", iou([None] * 3, [0.1] * 3), levels={"masks": "all", "head": "y"})
    of_other = per_class(
        [f"other-{seed}" for seed in range(3)], dict.fromkeys("abc", "seen"),
        {name: [0.1] * 3 for name in "abc"})
    rows_of_both = joined(rows, frame(other))
    table = arm_table(rows_of_both, per_class=joined(some, every, of_other))
    assert "full" == table.rows[0].all_arm
    rows_of_both.loc[rows_of_both["arm"] == "full", "head"] = "z"
    table = arm_table(rows_of_both, per_class=joined(some, every, of_other))
    assert table.rows[0].all_arm is None
    assert "ret." not in text(table)


def test_the_only_supervised_arm_serves_all():
    """Even if it differs in two axes, and the caption names it."""
    rows, some, every = supervised(axis_levels=("x", "y"))
    table = arm_table(rows, per_class=joined(some, every))
    assert "full" == table.rows[0].all_arm
    assert "in the arm that saw all masks, full." in caption(table)


def test_different_novel_classes_are_warned_of():
    """Their means are over different classes."""
    rows = frame(arm("a", iou([0.1], [0.1]), seeds=[0]), arm("b", iou([0.1], [0.1]), seeds=[0]))
    numbers = {"x": [0.1], "y": [0.1]}
    classes = joined(
        per_class(["a-0"], {"x": "novel", "y": "seen"}, numbers),
        per_class(["b-0"], {"x": "novel", "y": "novel"}, numbers))
    table = arm_table(rows, per_class=classes)
    assert "not the same in all arms (1 in a; 2 in b)" in caption(table)
    table = arm_table(rows, per_class=classes, split=["x"])
    assert "not the same" not in caption(table)
    assert "Seen and novel are those of the split x; the masks that training saw" in caption(table)


def test_other_code_and_other_data_are_flagged():
    """With a sign at the arm, and a sentence that names the datasets."""
    table = arm_table(frame(
        arm("a", iou([0.1] * 3, [0.1] * 3), code_state="mixed code"),
        arm("b", iou([0.1] * 3, [0.1] * 3), dataset="val@2")))
    assert cells_of(text(table), "a !")
    assert "! marks arms with trials of other code" in caption(table)
    assert "data, so their numbers do not compare: val@1 (a); val@2 (b)." in caption(table)


def test_arms_of_one_label_are_told_apart_by_their_sweeps():
    """Each is compared with the baseline of its own sweep."""
    sweeps = [
        [*arm("base", iou([low] * 3, [low] * 3), baseline=True, sweep=name),
         *arm("deep", iou([low + 0.1] * 3, [low] * 3), sweep=name)]
        for name, low in (("one", 0.1), ("two", 0.5))]
    table = arm_table(frame(*sweeps))
    assert ["one/base", "one/deep", "two/base", "two/deep"] == [it.arm.label for it in table.rows]
    assert ["one/base", "two/base"] == [table.rows[1].against, table.rows[3].against]
    assert 0.1 == pytest.approx(table.rows[3].scores[IOU].novel.difference.mean)


def test_trials_without_a_sweep_are_arms_of_their_own():
    """Called like their folders, where they were given no arm."""
    lone = [
        arm("", iou([low], [low]), {}, seeds=[0], sweep="", folder=f"runs/{name}", trial=name)
        for name, low in (("one", 0.1), ("two", 0.2))]
    rows = frame(*lone)
    assert ["one", "two"] == [row.arm.label for row in arm_table(rows).rows]
    assert 0.1 == pytest.approx(
        arm_table(rows, baseline="one").rows[1].scores[IOU].novel.difference.mean)


def test_another_baseline_can_be_chosen():
    """For all arms, the sweep's own baseline included."""
    base, deep = arm_table(TWO_ARMS, baseline="deep").rows
    assert ("deep", None, True) == (base.against, deep.against, deep.baseline)
    assert -0.17 / 3 == pytest.approx(base.scores[IOU].novel.difference.mean)


def test_leftovers_of_an_earlier_launch_are_left_out_and_named():
    """Trials of the same arm with other steps, or with a seed that is there, are other trials."""
    longer = arm("base", iou([0.9] * 4, [0.9] * 4), seeds=(0, 1, 2, 3), steps=200)
    again = arm("deep", iou([0.9], [0.9]), seeds=[2])
    for row in [*longer, *again]:
        row["trial"] += "-old"
    table = arm_table(joined(TWO_ARMS, frame(longer, again)))
    assert 0.51 == pytest.approx(table.rows[0].scores[IOU].novel.value.mean)
    assert "already: base-0-old, base-1-old, base-2-old, base-3-old, deep-2-old." in caption(table)


def test_what_it_cost():
    """Relative to the baseline; hours, and millions of parameters."""
    table = arm_table(frame(
        arm("a", iou([0.1] * 3, [0.1] * 3), baseline=True, parameters=40_000_000,
            training_gmacs=2e6, train_seconds=1800.0),
        arm("b", iou([0.1] * 3, [0.1] * 3), parameters=44_400_000, training_gmacs=3e6,
            train_seconds=9000.0)))
    shown = text(table)
    assert ["3/3", "40.00 M", "1.00 x", "30.0 min"] == cells_of(shown, "a *")[-1]
    assert ["3/3", "44.40 M", "1.50 x", "2.5 h"] == cells_of(shown, "b")[-1]


def test_unknown_names_are_refused():
    """With the nearest known one, and all."""
    with pytest.raises(UserError, match=r"'groundtruth/iuo'\. Did you mean 'groundtruth/iou'\?"):
        arm_table(TWO_ARMS, ["groundtruth/iuo"])
    with pytest.raises(UserError, match=r"'dep' .* Did you mean 'deep'\? Arms are base, deep"):
        arm_table(TWO_ARMS, baseline="dep")
    with pytest.raises(UserError, match="confidence of 95 makes no sense"):
        arm_table(TWO_ARMS, confidence=95)


def test_arms_with_other_novel_classes_have_no_difference():
    """Their seen classes are others, too: what is subtracted would be of other classes."""
    rows = frame(
        arm("part", {f"{IOU}/novel": [0.4, 0.5, 0.6], f"{IOU}/seen": [0.5, 0.6, 0.7]},
            baseline=True),
        arm("all", {f"{IOU}/seen": [0.6, 0.7, 0.8]}))
    classes = pd.concat([
        per_class([f"part-{seed}" for seed in range(3)], {"p": "seen", "q": "novel"},
                  {"p": [0.5, 0.6, 0.7], "q": [0.4, 0.5, 0.6]}),
        per_class([f"all-{seed}" for seed in range(3)], {"p": "seen", "q": "seen"},
                  {"p": [0.6, 0.7, 0.8], "q": [0.6, 0.7, 0.8]})], ignore_index=True)
    table = arm_table(rows, [IOU], per_class=classes)
    assert table.rows[1].against is None
    assert table.rows[1].scores[IOU].seen.difference is None
    assert 0 == table.comparisons
    said = caption(table)
    assert "No Δ where seen classes are others than the baseline's" in said
    assert said.rstrip(".").endswith(": all")
    assert "p: paired t test" not in said
    assert "part" == arm_table(rows, [IOU]).rows[1].against
