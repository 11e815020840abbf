"""Effects of axes, on sweeps with known effects and against a linear model."""

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
from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.effects.effects_rendering import render_effects
from tests.helpers.result_frames import arm, frame, per_class

IOU = "groundtruth/iou"
NOISE = (0.0, 0.01, -0.02)
# The two changes of the sweep, and their interaction.
BOTH = (("b",), ("y",), ("b", "y"))


def numbers(values):
    """Metrics whose effects on seen classes have the opposite sign."""
    return {f"{IOU}/novel": values, f"{IOU}/seen": [1 - value for value in values]}


def grid(cells, **fields):
    """A sweep of arms such as "a+x" with the axes A and B; the first arm is the baseline."""
    return frame(*(
        arm("+".join(cell), numbers(values), dict(zip(("A", "B"), cell, strict=True)),
            baseline=number == 0, **fields)
        for number, (cell, values) in enumerate(cells.items())))


def factorial(seed_noise=NOISE):
    """Effects of 0.04 for b, 0.02 for y and 0.06 for both, with one noise value per seed."""
    means = {("a", "x"): 0.5, ("b", "x"): 0.54, ("a", "y"): 0.52, ("b", "y"): 0.62}
    return {cell: [mean + noise for noise in seed_noise] for cell, mean in means.items()}


def find_effect(effects, *levels, on="novel"):
    """The effect of a level, or the interaction of two."""
    [found] = [
        effect for effect in (*effects.rows, *effects.interactions)
        if effect.on == on and tuple(change.level for change in effect.changes) == levels]
    return found


def caption(effects) -> str:
    return "\n".join(render_effects(effects).caption)


def test_effects_and_interaction_of_a_grid_are_those_put_in():
    """Effects are means over the other axis, (0.04 + 0.10) / 2 and (0.02 + 0.08) / 2."""
    effects = axis_effects(grid(factorial()))
    assert "grid" == effects.design
    assert (0.07, 0.05, 0.06) == pytest.approx(
        [find_effect(effects, *levels).difference.mean for levels in BOTH])
    assert (-0.07, -0.06) == pytest.approx(
        [find_effect(effects, *levels, on="seen").difference.mean
         for levels in (("b",), ("b", "y"))])
    assert [2, 2, 1] == [find_effect(effects, *levels).combinations for levels in BOTH]
    # The noise of a seed is the same on both sides and cancels.
    assert 0.0 == pytest.approx(find_effect(effects, "b").difference.sd, abs=1e-9)
    assert 0 == effects.missing


def test_a_grid_agrees_with_a_linear_model():
    """Effects are the coefficients of least squares with treatment coding and seeds as blocks."""
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
    assert single["A[T.b]"] == pytest.approx(find_effect(effects, "b").difference.mean)
    assert single["B[T.y]"] == pytest.approx(find_effect(effects, "y").difference.mean)
    assert both["A[T.b]:B[T.y]"] == pytest.approx(find_effect(effects, "b", "y").difference.mean)


def test_one_at_a_time_is_a_difference_to_the_baseline():
    """Effects are paired differences to the baseline, and there are no interactions."""
    effects = axis_effects(grid({
        ("a", "x"): [0.5, 0.52, 0.49], ("b", "x"): [0.56, 0.55, 0.55],
        ("a", "y"): [0.5, 0.51, 0.5], ("c", "x"): [0.4, 0.42, 0.39]}))
    assert "one at a time" == effects.design
    assert () == effects.interactions
    found = find_effect(effects, "b").difference
    assert (0.05, 3) == pytest.approx((found.mean, found.n))
    # Differences of 0.06, 0.03, 0.06: t(0.975, 2) = 4.3027.
    assert 4.3027 * math.sqrt(0.0003) / math.sqrt(3) == pytest.approx(
        found.high - found.mean, abs=1e-5)
    assert -0.1 == pytest.approx(find_effect(effects, "c").difference.mean)
    assert ("A", "c", "a") == find_effect(effects, "c").changes[0]
    assert "so interactions are unknown" in caption(effects)


def test_holm_and_power_agree_with_statsmodels():
    """Corrected p values and power are those of statsmodels for the same differences."""
    draw = random.Random(5)
    effects = axis_effects(grid({
        cell: [0.5 + draw.gauss(0, 0.02) for _ in range(3)]
        for cell in (("a", "x"), ("b", "x"), ("a", "y"))}))
    p_values = [effect.difference.p for effect in effects.rows]
    expected = multipletests(p_values, method="holm")[1]
    assert list(expected) == [effect.p_holm for effect in effects.rows]
    assert "Holm-corrected over 4 effects." in caption(effects)
    found = find_effect(effects, "b")
    size = TTestPower().solve_power(nobs=3, power=0.8, alpha=0.05)
    assert size * found.difference.sd == pytest.approx(found.detectable, rel=1e-5)
    enough, fewer = (
        TTestPower().power(abs(found.difference.mean) / found.difference.sd, n, 0.05)
        for n in (found.seeds_needed, found.seeds_needed - 1))
    assert fewer < 0.8 <= enough


def test_three_levels_and_three_axes():
    """Additive levels have their own effects and no interactions."""
    levels = {"A": {"a": 0.0, "b": 0.1, "c": -0.05}, "B": {"x": 0.0, "y": 0.03},
              "C": {"u": 0.0, "v": 0.2}}
    arms = []
    for cell in itertools.product(*levels.values()):
        mean = 0.4 + sum(effect[level] for effect, level in zip(levels.values(), cell, strict=True))
        arms.append(arm("+".join(cell), numbers([mean + noise for noise in NOISE]),
                        dict(zip(levels, cell, strict=True)), baseline=not arms))
    effects = axis_effects(frame(*arms))
    assert (0.1, -0.05, 0.03, 0.2) == pytest.approx(
        [find_effect(effects, level).difference.mean for level in "bcyv"])
    assert 2 * (2 + 2 + 1) == len(effects.interactions)
    assert 0.0 == pytest.approx(max(
        abs(effect.difference.mean) for effect in effects.interactions))
    assert [4, 6, 3] == [
        find_effect(effects, *levels).combinations for levels in ("b", "y", ("y", "v"))]


def test_an_incomplete_grid_is_restricted_to_whole_pairs():
    """Without b+y, the effect of b is taken with x only, and a note says so."""
    cells = factorial()
    rows = grid(cells)
    rows.loc[rows["arm"] == "b+y", "status"] = "failed"
    effects = axis_effects(rows)
    assert (0.04, 1) == pytest.approx(
        (find_effect(effects, "b").difference.mean, find_effect(effects, "b").combinations))
    assert () == effects.interactions
    assert "1 combination of levels has no finished trial" in caption(effects)


def test_a_seed_counts_only_where_it_is_in_all_cells():
    """A seed that one cell lacks is not used, so that all seeds average the same cells."""
    rows = grid(factorial())
    rows.loc[(rows["arm"] == "a+y") & (rows["seed"] == 1), "status"] = "running"
    effects = axis_effects(rows)
    assert [2, 2, 2] == [find_effect(effects, *levels).difference.n for levels in BOTH]
    assert 0.07 == pytest.approx(find_effect(effects, "b").difference.mean)


def test_levels_that_only_change_together_have_no_effects():
    """Levels of two axes that always change together have no separate effects."""
    effects = axis_effects(grid({("a", "x"): [0.5] * 3, ("b", "y"): [0.6] * 3}))
    assert [0, 0, 0, 0] == [effect.difference.n for effect in effects.rows]
    assert "No two trials with the same seed that differ in one axis have" in caption(effects)


def test_one_seed_has_effects_without_intervals():
    """With one seed there are effects, but no tests, and a note says so."""
    effects = axis_effects(grid(factorial(NOISE[:1]), seeds=[0]))
    assert 0.07 == pytest.approx(find_effect(effects, "b").difference.mean)
    assert {None} == {
        value for effect in effects.rows for value in (effect.detectable, effect.p_holm)}
    assert "One seed per arm: differences may be noise." in caption(effects)
    assert "p" not in render_effects(effects).sections[0].heads


def test_trials_of_other_sweeps_are_dropped_and_named():
    """Only the first sweep of a frame has effects; trials of others are named."""
    other = frame(arm("q", numbers([0.1]), {"A": "q"}, sweep="other", seeds=[0]))
    effects = axis_effects(pd.concat([grid(factorial()), other], ignore_index=True))
    assert ("q-0",) == effects.left_out
    assert {"b", "y"} == {effect.changes[0].level for effect in effects.rows}
    assert "Dropped, from another sweep" in caption(effects)


def test_nothing_finished_and_nothing_known():
    """An empty frame has no effects, an unknown metric is refused."""
    assert () == axis_effects(frame(arm("a", {}, statuses=["new"] * 3))).rows
    with pytest.raises(UserError, match="Did you mean 'groundtruth/iou'"):
        axis_effects(grid(factorial()), "groundtruth/io")


def classes_of(rows, novel):
    """Metrics of two classes for all trials; `novel` gives the novel classes of an arm."""
    made = [
        per_class([trial], {name: "novel" if name in novel(arm_) else "seen" for name in "pq"},
                  {"p": [0.5], "q": [0.5]})
        for trial, arm_ in zip(rows["trial"], rows["arm"], strict=True)]
    return pd.concat(made, ignore_index=True)


@pytest.mark.slow
def test_arms_with_different_novel_classes_have_no_effects():
    """An axis that changes the novel classes has no effects without a common split."""
    rows = grid(factorial())
    classes = classes_of(rows, lambda label: "p" if "x" in label else "q")
    effects = axis_effects(rows, per_class=classes)
    assert 3 == find_effect(effects, "b").difference.n
    assert 0 == find_effect(effects, "y").difference.n
    assert () == effects.interactions
    assert "No effects between arms with different novel classes" in caption(effects)
    same = axis_effects(rows, per_class=classes_of(rows, lambda _: "p"))
    assert axis_effects(rows) == same
    assert "No effects between" not in caption(same)


def test_a_common_split_gives_effects_to_all_arms():
    """Under a common split all arms are compared, and a note names the split."""
    rows = grid(factorial())
    classes = classes_of(rows, lambda label: "p" if "x" in label else "q")
    effects = axis_effects(rows, per_class=classes, split=["p"])
    assert axis_effects(rows).rows == effects.rows
    assert "Seen and novel classes are those of the split p;" in caption(effects)
