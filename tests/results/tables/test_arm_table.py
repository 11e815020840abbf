"""Tables of arms: means, differences, gaps and retention by hand, and the notes below them."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.formats import markdown_text
from deepmac_ablate.results.tables.arm_table import arm_table
from deepmac_ablate.results.tables.table_rendering import render_table
from tests.helpers.result_frames import arm, cells_of, frame, per_class

IOU = "groundtruth/iou"
AP = "detections/mask_ap"


def iou(novel, seen):
    return {f"{IOU}/novel": novel, f"{IOU}/seen": seen}


def text(table) -> str:
    return markdown_text(render_table(table))


def caption(table) -> str:
    return "\n".join(render_table(table).caption)


TWO_ARMS = frame(
    arm("base", iou([0.5, 0.52, 0.51], [0.6, 0.61, 0.62]), baseline=True),
    arm("deep", iou([0.55, 0.58, 0.57], [0.6, 0.63, 0.62])))


def test_means_intervals_and_differences_by_hand():
    """Means, t intervals and paired differences agree with a calculation by hand."""
    base, deep = arm_table(TWO_ARMS).rows
    assert (base.baseline, deep.baseline) == (True, False)
    assert base.scores[IOU].novel.difference is None
    found = deep.scores[IOU].novel.difference
    # t(0.975, 2) = 4.3027.
    half = 4.3027 * statistics.stdev([0.05, 0.06, 0.06]) / math.sqrt(3)
    assert (0.17 / 3, 0.17 / 3 - half, 0.17 / 3 + half) == pytest.approx(found[:3], abs=1e-5)
    assert "base" == deep.against
    shown = text(arm_table(TWO_ARMS))
    # Novel: 0.567 with sd 0.0153; half width 2.484 sd.
    assert ["56.7 ± 3.8", "+5.7 ± 1.4"] == cells_of(shown, "deep")[0][:2]
    assert ["51.0 ± 2.5", "-", "-"] == cells_of(shown, "base *")[0][:3]


def test_the_gap_is_taken_within_each_seed():
    """Equal gaps of 0.05 within each seed have an interval of width 0."""
    gap = arm_table(TWO_ARMS).rows[1].scores[IOU].gap
    assert (0.05, 0.0) == pytest.approx((gap.mean, gap.high - gap.low), abs=1e-9)


def test_holm_counts_the_comparisons_of_the_table():
    """The correction counts metrics, groups of classes and arms: 2 x 2 x 2 comparisons."""
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
    assert "Holm-corrected over the 8 comparisons of this table." in caption(table)


def test_a_half_finished_sweep_hides_nothing():
    """Unfinished trials are counted by status, and differences use the shared seeds."""
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
    assert "(n 2): over 2 seeds only; the others" in caption(table)


def test_a_metric_that_some_seeds_lack_shows_its_seeds():
    """A mean over fewer seeds than have finished is followed by their number."""
    table = arm_table(frame(arm("a", iou([0.5, None, 0.6], [0.1, 0.2, 0.3]))))
    assert cells_of(text(table), "a")[0][0].endswith("(n 2)")
    assert "There is no baseline, so there are no differences." in caption(table)


def test_one_seed_has_no_interval_and_a_note():
    """With one seed per arm there is no interval and no p, and a note warns of noise."""
    shown = text(arm_table(TWO_ARMS[TWO_ARMS["seed"] == 0]))
    assert ["55.0", "+5.0", "60.0", "+0.0", "5.0"] == cells_of(shown, "deep")[0]
    assert "One seed per arm: differences may be noise." in shown
    assert "±" not in shown
    assert "| p |" not in shown


def test_arms_of_one_seed_among_others_are_named():
    """Arms with a single seed are named if others have more."""
    table = arm_table(frame(
        arm("a", iou([0.1, 0.2], [0.1, 0.2]), seeds=(0, 1)),
        arm("b", iou([0.1], [0.2]), seeds=[0])))
    assert "One seed only, so differences may be noise: b." in caption(table)
    assert "±: 95 % t interval over seeds; it covers the randomness of" in caption(table)


def test_a_sweep_in_which_nothing_has_finished():
    """The trials of an unfinished sweep are listed, with a note."""
    shown = text(arm_table(frame(arm("a", {}, statuses=["new", "new", "running"]))))
    assert ["0/3, 1 running, 2 missing"] == cells_of(shown, "a")[0]
    assert "No trial has finished yet." in shown


def supervised(axis_levels=("x", "x"), **fields):
    """An arm with the novel classes b and c, and a fully supervised one with an additional seed.

    By hand: seed 0 keeps (0.2 + 0.4) / (0.4 + 0.4) = 0.75, seed 2 keeps
    (0.3 + 0.3) / (0.5 + 0.3) = 0.75, and of class c alone 1.
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
    """Retention is taken by seed over the novel classes; the supervised arm has none."""
    rows, some, every = supervised()
    part, full = arm_table(rows, per_class=joined(some, every)).rows
    assert (0.75, 0.0, 2) == pytest.approx(
        (part.scores[IOU].retention.mean, part.scores[IOU].retention.sd, 2), abs=1e-12)
    assert 2 == part.scores[IOU].retention.n
    assert (None, 0) == (full.all_arm, full.scores[IOU].retention.n)
    shown = text(arm_table(rows, per_class=joined(some, every)))
    assert ["75.0 ± 0.0"] == [cells_of(shown, "part *")[1][-1]]
    assert "relative to the same classes with full supervision (full)." in shown


def test_retention_ignores_classes_without_a_value():
    """A class without a value in one arm is ignored in both: in seed 2 only c counts, 0.3 / 0.3."""
    rows, some, every = supervised()
    some.loc[(some["trial"] == "part-2") & (some["name"] == "b"), "iou"] = None
    shares = arm_table(rows, per_class=joined(some, every)).rows[0].scores[IOU].retention
    assert statistics.fmean([0.75, 1.0]) == pytest.approx(shares.mean)


def test_the_supervised_arm_that_agrees_on_all_other_axes_is_taken():
    """Of two supervised arms the one with the same head is used; without one there is none."""
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
    """A single supervised arm is used even if it differs in two axes, and a note names it."""
    rows, some, every = supervised(axis_levels=("x", "y"))
    table = arm_table(rows, per_class=joined(some, every))
    assert "full" == table.rows[0].all_arm
    assert "relative to the same classes with full supervision (full)." in caption(table)


def test_different_novel_classes_are_noted():
    """A note says if arms have different novel classes, unless a common split is used."""
    rows = frame(arm("a", iou([0.1], [0.1]), seeds=[0]), arm("b", iou([0.1], [0.1]), seeds=[0]))
    numbers = {"x": [0.1], "y": [0.1]}
    classes = joined(
        per_class(["a-0"], {"x": "novel", "y": "seen"}, numbers),
        per_class(["b-0"], {"x": "novel", "y": "novel"}, numbers))
    table = arm_table(rows, per_class=classes)
    assert "Arms have different novel classes (1 in a; 2 in b)" in caption(table)
    table = arm_table(rows, per_class=classes, split=["x"])
    assert "different novel classes" not in caption(table)
    assert "Seen and novel classes are those of the split x; each trial was" in caption(table)


def test_other_code_and_other_data_are_flagged():
    """Arms that ran with other code are marked, and different datasets are named."""
    table = arm_table(frame(
        arm("a", iou([0.1] * 3, [0.1] * 3), code_state="mixed code"),
        arm("b", iou([0.1] * 3, [0.1] * 3), dataset="val@2")))
    assert cells_of(text(table), "a !")
    assert "!: some trials ran with other code" in caption(table)
    assert "datasets, so their metrics are not comparable: val@1 (a); val@2 (b)." in caption(table)


def test_platforms_that_are_mixed_are_flagged():
    """An arm whose trials ran on two platforms is marked; arms that differ are only named."""
    old, new = "AMD EPYC (AVX2), 2 threads", "AMD EPYC (AVX2), 2 threads, deterministic"
    a, b, c = (arm(name, iou([0.1] * 3, [0.1] * 3)) for name in "abc")
    for row, platform in zip(a, [old, new, f"{old}; {new}"], strict=True):
        row["platform"] = platform
    mixed = arm_table(frame(a, b))
    assert cells_of(text(mixed), "a ~")
    assert "~: trials ran on different platforms" in caption(mixed)
    assert caption(mixed).endswith(f"{old}; {new}.") or f": {old}; {new}." in caption(mixed)
    for row in b:
        row["platform"] = old
    for row in c:
        row["platform"] = new
    assert "Arms ran on different platforms" in caption(arm_table(frame(b, c)))
    assert "platforms" not in caption(arm_table(frame(b)))


def test_arms_with_the_same_label_are_prefixed_with_their_sweep():
    """Arms of two sweeps are compared with the baselines of their own sweeps."""
    sweeps = [
        [*arm("base", iou([low] * 3, [low] * 3), baseline=True, sweep=name),
         *arm("deep", iou([low + 0.1] * 3, [low] * 3), sweep=name)]
        for name, low in (("one", 0.1), ("two", 0.5))]
    table = arm_table(frame(*sweeps))
    assert ["one/base", "one/deep", "two/base", "two/deep"] == [
        row.arm.label for row in table.rows]
    assert ["one/base", "two/base"] == [table.rows[1].against, table.rows[3].against]
    assert 0.1 == pytest.approx(table.rows[3].scores[IOU].novel.difference.mean)


def test_two_sweeps_have_a_column_and_baselines_of_their_own():
    """Each row names its sweep, and the notes say that there are several baselines."""
    table = arm_table(frame(
        arm("base", iou([0.1, 0.2], [0.1] * 2), baseline=True, sweep="one", seeds=(0, 1)),
        arm("deep", iou([0.2, 0.4], [0.1] * 2), sweep="one", seeds=(0, 1)),
        arm("plain", iou([0.5, 0.6], [0.5] * 2), baseline=True, sweep="two", seeds=(0, 1)),
        arm("wide", iou([0.6, 0.8], [0.5] * 2), sweep="two", seeds=(0, 1)),
        arm("alone", iou([0.6, 0.8], [0.5] * 2), sweep="three", seeds=(0, 1))))
    shown = text(table)
    # The mean of 0.1 and 0.2, against the baseline of the same sweep.
    assert ["two", "+15.0 ± 63.5"] == cells_of(shown, "wide")[0][:3:2]
    assert ["one", "+15.0 ± 63.5"] == cells_of(shown, "deep")[0][:3:2]
    assert "*: baseline of its sweep; Δ: difference to the baseline of the same sweep" in shown
    assert "No Δ in sweeps without a baseline: three." in shown
    chosen = caption(arm_table(frame(
        arm("base", iou([0.1] * 3, [0.1] * 3), baseline=True, sweep="one"),
        arm("wide", iou([0.6] * 3, [0.5] * 3), sweep="two")), baseline="base"))
    assert "*: baseline; Δ: difference to the baseline, paired by seed." in chosen
    assert "without a baseline" not in chosen


def test_retention_is_taken_within_a_sweep_if_it_can_be():
    """A fully supervised arm of another sweep does not replace that of the arm's own sweep."""
    rows, some, every = supervised(axis_levels=("x", "y"), sweep="own")
    rows.loc[rows["arm"] == "part", "sweep"] = "own"
    near = frame(arm("near", iou([None] * 3, [0.9] * 3), sweep="other",
                     levels={"masks": "all", "head": "x"}))
    of_near = per_class([f"near-{seed}" for seed in range(3)], dict.fromkeys("abc", "seen"),
                        {name: [0.9] * 3 for name in "abc"})
    table = arm_table(joined(rows, near), per_class=joined(some, every, of_near))
    assert "full" == table.rows[0].all_arm


def test_there_is_no_word_of_intervals_without_any():
    """Two finished seeds, none of which has the metric, have no interval to explain."""
    table = arm_table(frame(
        arm("a", {**iou([0.1], [0.1]), f"{AP}/novel": [0.1]}, seeds=[0]),
        arm("b", {}, seeds=(0, 1))), [IOU])
    assert "±" not in text(table)


def test_trials_without_a_sweep_are_arms_of_their_own():
    """A trial without a sweep and an arm is an arm named after its folder."""
    lone = [
        arm("", iou([low], [low]), {}, seeds=[0], sweep="", folder=f"runs/{name}", trial=name)
        for name, low in (("one", 0.1), ("two", 0.2))]
    rows = frame(*lone)
    assert ["one", "two"] == [row.arm.label for row in arm_table(rows).rows]
    assert 0.1 == pytest.approx(
        arm_table(rows, baseline="one").rows[1].scores[IOU].novel.difference.mean)


def test_another_baseline_can_be_chosen():
    """All arms, including the sweep's own baseline, are compared with the chosen one."""
    base, deep = arm_table(TWO_ARMS, baseline="deep").rows
    assert ("deep", None, True) == (base.against, deep.against, deep.baseline)
    assert -0.17 / 3 == pytest.approx(base.scores[IOU].novel.difference.mean)


def test_trials_of_an_earlier_launch_are_dropped_and_named():
    """Trials of an arm with another number of steps or a duplicate seed are dropped."""
    longer = arm("base", iou([0.9] * 4, [0.9] * 4), seeds=(0, 1, 2, 3), steps=200)
    again = arm("deep", iou([0.9], [0.9]), seeds=[2])
    for row in [*longer, *again]:
        row["trial"] += "-old"
    table = arm_table(joined(TWO_ARMS, frame(longer, again)))
    assert 0.51 == pytest.approx(table.rows[0].scores[IOU].novel.value.mean)
    assert "seed: base-0-old, base-1-old, base-2-old, base-3-old, deep-2-old." in caption(table)


def test_costs_are_relative_to_the_baseline():
    """Costs are shown in millions of parameters, relative multiply-adds, and minutes or hours."""
    table = arm_table(frame(
        arm("a", iou([0.1] * 3, [0.1] * 3), baseline=True, parameters=40_000_000,
            training_gmacs=2e6, train_seconds=1800.0),
        arm("b", iou([0.1] * 3, [0.1] * 3), parameters=44_400_000, training_gmacs=3e6,
            train_seconds=9000.0)))
    shown = text(table)
    assert ["3/3", "40.00 M", "1.00 x", "30.0 min"] == cells_of(shown, "a *")[-1]
    assert ["3/3", "44.40 M", "1.50 x", "2.5 h"] == cells_of(shown, "b")[-1]


def test_unknown_names_are_refused():
    """Messages about unknown metrics and arms suggest the nearest name."""
    with pytest.raises(UserError, match=r"'groundtruth/iuo'\. Did you mean 'groundtruth/iou'\?"):
        arm_table(TWO_ARMS, ["groundtruth/iuo"])
    with pytest.raises(UserError, match=r"'dep' .* Did you mean 'deep'\? Known are base, deep"):
        arm_table(TWO_ARMS, baseline="dep")
    with pytest.raises(UserError, match=r"confidence must be between 0 and 1, .* got 95\."):
        arm_table(TWO_ARMS, confidence=95)


def test_arms_with_other_novel_classes_have_no_difference():
    """Arms with different novel classes are not subtracted from each other."""
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
    notes = caption(table)
    assert "No Δ for arms with other novel classes than the baseline" in notes
    assert notes.rstrip(".").endswith(": all")
    assert "p: paired t test" not in notes
    assert "part" == arm_table(rows, [IOU]).rows[1].against
    # Nor do they have one if the chosen baseline is in another sweep.
    rows.loc[rows["arm"] == "all", "sweep"] = "other"
    notes = caption(arm_table(rows, [IOU], per_class=classes, baseline="part"))
    assert "No Δ for arms with other novel classes than the baseline" in notes
    assert "without a baseline" not in notes
