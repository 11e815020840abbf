"""Effects of axes on made-up sweeps whose effects are known, and against a linear model."""

from __future__ import annotations

import itertools
import math
import random

import pandas as pd
import pytest
import statsmodels.formula.api
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.effects import rendering as effect_cells
from deepmac_ablate.results.effects.axis_effects import axis_effects
from tests.helpers.result_frames import arm, frame, per_class

IOU = "groundtruth/iou"
LUCK = (0.0, 0.01, -0.02)


def numbers(values):
    """On seen classes all effects have the other sign."""
    return {f"{IOU}/novel": values, f"{IOU}/seen": [1 - value for value in values]}


def grid(cells, **fields):
    """A sweep of arms "a+x" with the axes A and B; the first is the baseline."""
    return frame(*(
        arm("+".join(cell), numbers(values), dict(zip(("A", "B"), cell, strict=True)),
            baseline=number == 0, **fields)
        for number, (cell, values) in enumerate(cells.items())))


def factorial(seed_noise=LUCK):
    """0.5, and 0.04 for b, 0.02 for y, 0.06 more for both; each seed has its luck in all cells."""
    means = {("a", "x"): 0.5, ("b", "x"): 0.54, ("a", "y"): 0.52, ("b", "y"): 0.62}
    return {cell: [mean + luck for luck in seed_noise] for cell, mean in means.items()}


def of(effects, *levels, on="novel"):
    """The effect of a level, or the interaction of two."""
    [found] = [
        it for it in (*effects.rows, *effects.interactions)
        if it.on == on and tuple(change.level for change in it.changes) == levels]
    return found


def caption(effects) -> str:
    return "\n".join(effect_cells.document(effects).caption)


def test_effects_and_interaction_of_a_grid_are_those_put_in():
    """A mean over the other axis: (0.04 + 0.10) / 2 and (0.02 + 0.08) / 2; and 0.06."""
    effects = axis_effects(grid(factorial()))
    assert "grid" == effects.design
    assert (0.07, 0.05, 0.06) == pytest.approx(
        [of(effects, *levels).difference.mean for levels in (("b",), ("y",), ("b", "y"))])
    assert (-0.07, -0.06) == pytest.approx(
        [of(effects, *levels, on="seen").difference.mean for levels in (("b",), ("b", "y"))])
    assert [2, 2, 1] == [of(effects, *it).combinations for it in (("b",), ("y",), ("b", "y"))]
    # A seed's luck is the same on both sides, so that it is in no difference.
    assert 0.0 == pytest.approx(of(effects, "b").difference.sd, abs=1e-9)
    assert 0 == effects.missing


def test_a_grid_agrees_with_a_linear_model():
    """Least squares with the seed as a block, and treatments coded against the baseline."""
    draw = random.Random(3)
    cells = {
        cell: [value + draw.gauss(0, 0.01) for value in values]
        for cell, values in factorial().items()}
    effects = axis_effects(grid(cells))
    rows = pd.DataFrame([
        {"A": a, "B": b, "seed": seed, "y": value}
        for (a, b), values in cells.items() for seed, value in enumerate(values)])
    both = statsmodels.formula.api.ols("y ~ A * B + C(seed)", rows).fit().params
    single = statsmodels.formula.api.ols("y ~ A + B + C(seed)", rows).fit().params
    assert single["A[T.b]"] == pytest.approx(of(effects, "b").difference.mean)
    assert single["B[T.y]"] == pytest.approx(of(effects, "y").difference.mean)
    assert both["A[T.b]:B[T.y]"] == pytest.approx(of(effects, "b", "y").difference.mean)


def test_one_at_a_time_is_a_difference_to_the_baseline():
    """By hand, by seed; there is nothing that could interact."""
    effects = axis_effects(grid({
        ("a", "x"): [0.5, 0.52, 0.49], ("b", "x"): [0.56, 0.55, 0.55],
        ("a", "y"): [0.5, 0.51, 0.5], ("c", "x"): [0.4, 0.42, 0.39]}))
    assert "one at a time" == effects.design
    assert () == effects.interactions
    found = of(effects, "b").difference
    assert (0.05, 3) == pytest.approx((found.mean, found.n))
    # Differences of 0.06, 0.03, 0.06: t(0.975, 2) = 4.3027.
    assert 4.3027 * math.sqrt(0.0003) / math.sqrt(3) == pytest.approx(
        found.high - found.mean, abs=1e-5)
    assert -0.1 == pytest.approx(of(effects, "c").difference.mean)
    assert ("A", "c", "a") == of(effects, "c").changes[0]
    assert "nothing is known of interactions" in caption(effects)


def test_holm_and_power_are_of_what_is_shown():
    """`statsmodels` on the p values and the scatter of the same differences."""
    draw = random.Random(5)
    effects = axis_effects(grid({
        cell: [0.5 + draw.gauss(0, 0.02) for _ in range(3)]
        for cell in (("a", "x"), ("b", "x"), ("a", "y"))}))
    p_values = [effect.difference.p for effect in effects.rows]
    assert list(multipletests(p_values, method="holm")[1]) == [it.p_holm for it in effects.rows]
    assert "Holm over 4 effects." in caption(effects)
    found = of(effects, "b")
    size = TTestPower().solve_power(nobs=3, power=0.8, alpha=0.05)
    assert size * found.difference.sd == pytest.approx(found.detectable, rel=1e-5)
    enough, fewer = (
        TTestPower().power(abs(found.difference.mean) / found.difference.sd, n, 0.05)
        for n in (found.seeds_needed, found.seeds_needed - 1))
    assert fewer < 0.8 <= enough


def test_three_levels_and_three_axes():
    """Levels add up, so that each effect is what was put in, and no interaction is left."""
    levels = {"A": {"a": 0.0, "b": 0.1, "c": -0.05}, "B": {"x": 0.0, "y": 0.03},
              "C": {"u": 0.0, "v": 0.2}}
    arms = []
    for cell in itertools.product(*levels.values()):
        mean = 0.4 + sum(effect[level] for effect, level in zip(levels.values(), cell, strict=True))
        arms.append(arm("+".join(cell), numbers([mean + it for it in LUCK]),
                        dict(zip(levels, cell, strict=True)), baseline=not arms))
    effects = axis_effects(frame(*arms))
    assert (0.1, -0.05, 0.03, 0.2) == pytest.approx(
        [of(effects, level).difference.mean for level in "bcyv"])
    assert 2 * (2 + 2 + 1) == len(effects.interactions)
    assert 0.0 == pytest.approx(max(abs(it.difference.mean) for it in effects.interactions))
    assert [4, 6, 3] == [of(effects, *it).combinations for it in ("b", "y", ("y", "v"))]


def test_an_incomplete_grid_is_restricted_to_whole_pairs():
    """Without b+y, b has its effect beside x only; that is said."""
    cells = factorial()
    rows = grid(cells)
    rows.loc[rows["arm"] == "b+y", "status"] = "failed"
    effects = axis_effects(rows)
    assert (0.04, 1) == pytest.approx(
        (of(effects, "b").difference.mean, of(effects, "b").combinations))
    assert () == effects.interactions
    assert "1 combinations of levels have no finished trial" in caption(effects)


def test_a_seed_counts_only_where_it_is_in_all_cells():
    """A mean over other combinations than another seed's would be of something else."""
    rows = grid(factorial())
    rows.loc[(rows["arm"] == "a+y") & (rows["seed"] == 1), "status"] = "running"
    effects = axis_effects(rows)
    assert [2, 2, 2] == [of(effects, *it).difference.n for it in (("b",), ("y",), ("b", "y"))]
    assert 0.07 == pytest.approx(of(effects, "b").difference.mean)


def test_levels_that_only_change_together_are_told_apart_by_nobody():
    """No number is made up for them."""
    effects = axis_effects(grid({("a", "x"): [0.5] * 3, ("b", "y"): [0.6] * 3}))
    assert [0, 0, 0, 0] == [effect.difference.n for effect in effects.rows]
    assert "No two trials of one seed that differ in one axis have finished" in caption(effects)


def test_one_seed_has_effects_without_intervals():
    """And that is said."""
    effects = axis_effects(grid({cell: it[:1] for cell, it in factorial().items()}, seeds=[0]))
    assert 0.07 == pytest.approx(of(effects, "b").difference.mean)
    assert {None} == {it.detectable for it in effects.rows} | {it.p_holm for it in effects.rows}
    assert "One seed only: nobody knows how much is chance." in caption(effects)
    assert "p" not in effect_cells.document(effects).sections[0].heads


def test_other_sweeps_are_left_out_and_named():
    """Their trials answer another question."""
    other = frame(arm("q", numbers([0.1]), {"A": "q"}, sweep="other", seeds=[0]))
    effects = axis_effects(pd.concat([grid(factorial()), other], ignore_index=True))
    assert ("q-0",) == effects.left_out
    assert {"b", "y"} == {effect.changes[0].level for effect in effects.rows}
    assert "Left out, as they are of another sweep" in caption(effects)


def test_nothing_finished_and_nothing_known():
    """An empty frame has no effects, an unknown metric is refused."""
    assert () == axis_effects(frame(arm("a", {}, statuses=["new"] * 3))).rows
    with pytest.raises(UserError, match="Did you mean 'groundtruth/iou'"):
        axis_effects(grid(factorial()), "groundtruth/io")


def classes_of(rows, novel):
    """Numbers by class of all trials: two classes, of which those are novel that `novel` says."""
    made = [
        per_class([trial], {name: "novel" if name in novel(arm_) else "seen" for name in "pq"},
                  {"p": [0.5], "q": [0.5]})
        for trial, arm_ in zip(rows["trial"], rows["arm"], strict=True)]
    return pd.concat(made, ignore_index=True)


def test_arms_with_other_novel_classes_have_nothing_to_subtract():
    """An axis that gives masks to classes moves them from novel to seen; their means are others."""
    rows = grid(factorial())
    effects = axis_effects(rows, per_class=classes_of(rows, lambda it: "p" if "x" in it else "q"))
    assert 3 == of(effects, "b").difference.n
    assert 0 == of(effects, "y").difference.n
    assert () == effects.interactions
    assert "No effect between arms whose novel classes are not the same ones" in caption(effects)
    same = axis_effects(rows, per_class=classes_of(rows, lambda _: "p"))
    assert axis_effects(rows) == same
    assert "No effect between" not in caption(same)


def test_numbers_of_another_split_are_the_same_classes_in_all_arms():
    """Whatever was novel in training; and the caption says which split it is."""
    rows = grid(factorial())
    classes = classes_of(rows, lambda it: "p" if "x" in it else "q")
    effects = axis_effects(rows, per_class=classes, split=["p"])
    assert axis_effects(rows).rows == effects.rows
    assert "Seen and novel are those of the split p;" in caption(effects)
