"""Combinators against brute force, and what they refuse."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import (
    Arms,
    Axis,
    Sweep,
    add_one,
    axis,
    cumulative,
    grid,
    leave_one_out,
    one_at_a_time,
    seeds,
    switch,
    union,
    values,
    where,
    zipped,
)

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def make_axes(shape: list[int]) -> list[Axis]:
    """Axes a, b, ... of so many levels: a0, a1, ..."""
    return [
        axis(name, {f"{name}{i}": f"{name.upper()} = {i}" for i in range(count)})
        for name, count in zip("abcd", shape, strict=False)
    ]


def all_combinations(axes: list[Axis]) -> list[dict[str, str]]:
    """Every assignment of one level to each axis, by counting, the last axis fastest."""
    total = 1
    for an_axis in axes:
        total *= len(an_axis.levels)
    combinations = []
    for number in range(total):
        levels = {}
        for an_axis in reversed(axes):
            number, place = divmod(number, len(an_axis.levels))
            levels[an_axis.name] = an_axis.levels[place].name
        combinations.append({an_axis.name: levels[an_axis.name] for an_axis in axes})
    return combinations


def levels(arms: Arms) -> list[dict[str, str]]:
    return [dict(row.levels) for row in arms.rows]


def changed(combination: dict[str, str], axes: list[Axis]) -> list[str]:
    """The axes on which a combination is not at the first level."""
    return [a.name for a in axes if combination[a.name] != a.levels[0].name]


@given(SHAPES)
def test_grid_is_every_combination_in_order(shape):
    """Compared with counting in mixed radix."""
    axes = make_axes(shape)
    assert all_combinations(axes) == levels(grid(*axes))


@given(SHAPES)
def test_one_at_a_time_is_what_differs_on_at_most_one_axis(shape):
    """Filtered from all combinations; the baseline is first and each arm there once."""
    axes = make_axes(shape)
    expected = [c for c in all_combinations(axes) if len(changed(c, axes)) <= 1]
    found = levels(one_at_a_time(*axes))
    assert all(found.count(arm) == 1 for arm in expected)
    assert len(expected) == len(found)
    assert [] == changed(found[0], axes)
    assert sorted(map(str, expected)) == sorted(map(str, found))


@given(st.integers(1, 4))
def test_components_are_added_and_left_out(count):
    """From all combinations of off and on: those with one on, one off, and the staircase."""
    switches = [switch(name, f"{name.upper()} = 1") for name in "abcd"[:count]]
    every = all_combinations(switches)
    number_on = {str(c): len(changed(c, switches)) for c in every}

    def with_on(*numbers: int) -> list[str]:
        return sorted(s for s, number in number_on.items() if number in numbers)

    assert with_on(0, 1) == sorted(map(str, levels(add_one(*switches))))
    assert with_on(count - 1, count) == sorted(map(str, levels(leave_one_out(*switches))))
    assert number_on[str(levels(leave_one_out(*switches))[0])] == count
    stairs = levels(cumulative(*switches))
    assert list(range(count + 1)) == [number_on[str(c)] for c in stairs]
    for lower, higher in itertools.pairwise(stairs):
        assert set(changed(lower, switches)) < set(changed(higher, switches))


@given(st.integers(1, 5), st.integers(1, 4))
def test_zipped_pairs_by_place(length, count):
    """The i-th arm has the i-th level of each."""
    axes = make_axes([length] * count)
    expected = [{a.name: a.levels[i].name for a in axes} for i in range(length)]
    assert expected == levels(zipped(*axes))


@given(SHAPES, st.data())
def test_where_and_union_are_those_of_sets(shape, data):
    """Two random selections and their union, in the order of first appearance."""
    axes = make_axes(shape)
    every = all_combinations(axes)
    chosen = [data.draw(st.sets(st.sampled_from(range(len(every))), min_size=1)) for _ in "ab"]
    first, second = (
        where(grid(*axes), lambda arm, chosen=c: every.index(dict(arm)) in chosen) for c in chosen)
    assert [every[i] for i in sorted(chosen[0])] == levels(first)
    expected = [every[i] for i in sorted(chosen[0])]
    expected += [every[i] for i in sorted(chosen[1] - chosen[0])]
    assert expected == levels(union(first, second))


@given(SHAPES, st.integers(1, 3))
def test_a_sweep_names_every_axis_of_every_arm(shape, number_of_seeds):
    """Arms that say nothing of an axis have the baseline there; labels tell all arms apart."""
    axes = make_axes(shape)
    sweep = Sweep("base.gin", arms=union(*axes), seeds=number_of_seeds)
    expected = levels(one_at_a_time(*axes))
    assert sorted(map(str, expected)) == sorted(str(dict(arm.levels)) for arm in sweep.arms)
    assert len(sweep.arms) == len({arm.label for arm in sweep.arms})
    assert {tuple(range(number_of_seeds))} == {arm.seeds for arm in sweep.arms}
    [baseline] = [arm for arm in sweep.arms if arm.label == sweep.baseline]
    assert [] == changed(dict(baseline.levels), axes)


def test_an_arm_reads_the_sweep_first_and_its_levels_in_the_order_of_the_axes():
    """Files and bindings of one arm, with an override of the command line last."""
    head = axis("head", "gin/mask_heads/default.gin", deep=["gin/deep.gin", "Head.depth = 52"])
    rate = values("LEARNING_RATE", 0.1, 0.2)
    sweep = Sweep("base.gin", "STEPS = 9", arms=grid(head, rate)).edited(["X = 'a b; $(c)'"])
    arm = sweep.arms[-1]
    assert ("base.gin", "gin/deep.gin") == arm.gin_files
    expected = ("STEPS = 9", "Head.depth = 52", "LEARNING_RATE = 0.2", "X = 'a b; $(c)'")
    assert expected == arm.bindings
    assert "deep+0.2" == arm.label
    assert "default+0.1" == sweep.baseline


def test_labels_say_the_axis_where_a_level_alone_would_not_do():
    """Two switches are both on or off."""
    sweep = Sweep(arms=grid(switch("x", "X = 1"), switch("y", "Y = 1")))
    assert ["x=off+y=off", "x=off+y=on", "x=on+y=off", "x=on+y=on"] == [a.label for a in sweep.arms]


def test_the_baseline_is_the_first_arm_where_the_first_levels_are_none():
    """Leaving one out compares with everything on; a named baseline wins."""
    x, y = switch("x", "X = 1"), switch("y", "Y = 1")
    assert "x=on+y=on" == Sweep(arms=leave_one_out(x, y)).baseline
    assert "x=off+y=on" == Sweep(arms=grid(x, y), baseline={"y": "on"}).baseline


def test_seeds_of_some_arms():
    """More seeds for the baseline, put together where parts overlap."""
    x = switch("x", "X = 1")
    more = seeds(where(x, lambda arm: arm["x"] == "off"), [5, 6])
    assert [(5, 6), (0, 1)] == [a.seeds for a in Sweep(arms=union(more, seeds(
        where(x, lambda arm: arm["x"] == "on"), 2)), seeds=9).arms]
    assert [(5, 6, 0, 1), (0, 1)] == [
        a.seeds for a in Sweep(arms=union(more, seeds(x, 2))).arms]


def test_edits():
    """The edits of a command line give a new sweep; the sweep itself does not change."""
    sweep = Sweep(arms=grid(*make_axes([3, 2])), seeds=2)
    edited = sweep.edited(seeds=[7], only=["a=a1,a2", "b=b0"], steps=5)
    assert ["a1+b0", "a2+b0"] == [arm.label for arm in edited.arms]
    assert {(7,)} == {arm.seeds for arm in edited.arms}
    assert {"STEPS = 5"} == {arm.bindings[-1] for arm in edited.arms}
    assert (6, (0, 1)) == (len(sweep.arms), sweep.arms[0].seeds)


def test_an_edit_takes_the_place_of_the_sweeps_own_binding():
    """Once each, the last of the command line, after the levels'; the levels' stay to be seen."""
    sweep = Sweep("STEPS = 250", "X = 1", arms=values("LEARNING_RATE", 0.1))
    edited = sweep.edited(["X = 2", "LEARNING_RATE = 0.3", "X = 3"], steps=5)
    expected = ("LEARNING_RATE = 0.1", "X = 3", "LEARNING_RATE = 0.3", "STEPS = 5")
    assert expected == edited.arms[0].bindings
    assert ("LEARNING_RATE = 0.1", "X = 3", "LEARNING_RATE = 0.3", "STEPS = 6") == (
        edited.edited(steps=6).arms[0].bindings)


A, B = make_axes([2, 3])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: axis("a", None), "Axis 'a': None is not a gin file; a level of bindings needs a name"),
    (lambda: axis(3, "x.gin"), "Axis 3: 3 is not a valid name; use letters"),
    (lambda: axis("a", b=None), "None is neither a gin file"),
    (lambda: Axis("a", ("x.gin",)), "Axis 'a' is made of other things than levels; use axis()."),
    (lambda: values(3, 1), "values(): 3 is not the name of a parameter"),
    (lambda: grid(), "grid() needs at least one axis."),
    (lambda: zipped(), "zipped() needs at least one axis."),
    (lambda: union(), "union() needs at least one axis."),
    (lambda: one_at_a_time(), "one_at_a_time() needs at least one axis."),
    (lambda: cumulative(None), "cumulative() takes axes, not None."),
    (lambda: add_one(grid(A)), "add_one() takes axes, not the result of a combinator."),
    (lambda: where(A, {"a": "a0"}), "where(): {'a': 'a0'} is not a function of an arm"),
    (lambda: Sweep(arms=A, seeds="3"), "Seeds must be a number of seeds or a list"),
    (lambda: Sweep(arms=A, seeds=10**12), "There can be at most 1,000 seeds, got 1000000000000."),
    (lambda: Sweep(arms=A, seeds=[2**31]), "A seed must be an integer of at least 0, below 2**31"),
    (lambda: Sweep(arms=A, baseline="a0"), "The baseline must be levels by the names of axes"),
    (lambda: Sweep(arms=A, baseline={"a": ["a0"]}), "no level ['a0']. It has a0, a1."),
    (lambda: Sweep(arms=A, baseline={3: "a0"}), "The sweep has no axis 3. It has a."),
    (lambda: axis("a"), "Axis 'a' has no levels; it needs at least one."),
    (lambda: axis("a", "X = 1"), "'X = 1' is not a gin file; a level of bindings needs a name"),
    (lambda: axis("a", "x/b.gin", "y/b.gin"), "Axis 'a' has two levels named 'b'."),
    (lambda: axis("a", {"b c": []}), "'b c' is not a valid name; use letters"),
    (lambda: axis("a", b=["gin/b"]), "'gin/b' is neither a gin file"),
    (lambda: values("X", (1, 2)), "(1, 2) is not a number, string, boolean or None"),
    (lambda: grid(A, A), "grid() has axis 'a' twice."),
    (lambda: grid(A, "b"), "'b' is neither an axis nor the result of a combinator."),
    (lambda: zipped(A, B), "zipped() needs parts of equal length, got lengths 2, 3."),
    (lambda: add_one(B), "two levels, off and on, such as switch(); axis 'b' has 3."),
    (lambda: leave_one_out(B), "leave_one_out() needs axes of two levels"),
    (lambda: cumulative(B), "cumulative() needs axes of two levels"),
    (lambda: one_at_a_time(A, A), "one_at_a_time() has two axes of the same name."),
    (lambda: where(grid(A), lambda arm: arm["aa"]), "no axis 'aa'. Did you mean 'a'?"),
    (lambda: union(A, make_axes([3])[0]), "union() has two axes named 'a' with different levels."),
    (lambda: union(A, seeds(A, 2)),
     "Arm a=a0 appears twice, once with its own seeds and once without; give both the same seeds."),
    (lambda: grid(seeds(A, 2), seeds(B, 3)), "two sets of seeds, (0, 1) and (0, 1, 2); give"),
    (lambda: Sweep(arms=where(A, lambda arm: False)), "The sweep has no arms: its where()"),
    (lambda: Sweep(arms=A, seeds=0), "there must be at least one; got 0."),
    (lambda: Sweep(arms=A, seeds=[1, 1]),
     "Seeds must be distinct and there must be at least one; got [1, 1]."),
    (lambda: Sweep(arms=A, seeds=[-1]), "must be an integer of at least 0, below 2**31, got -1."),
    (lambda: Sweep(arms=A, seeds=True), "Seeds must be a number of seeds or a list"),
    (lambda: Sweep("nothing", arms=A), "'nothing' is neither a gin file"),
    (lambda: Sweep(arms=A, baseline={"aa": "a0"}), "no axis 'aa'. Did you mean 'a'?"),
    (lambda: Sweep(arms=A, baseline={"a": "a7"}), "no level 'a7'. It has a0, a1."),
    (lambda: Sweep(arms=one_at_a_time(A, B), baseline={"a": "a1", "b": "b1"}),
     "The baseline a1+b1 is not one of the arms a0+b0, a1+b0, a0+b1, a0+b2."),
    (lambda: Sweep(arms=A).edited(only=["a"]),
     "--only must be AXIS=LEVEL, got 'a'; for example --only a=a0."),
    (lambda: Sweep(arms=A).edited(only=["x=a1"]), "no axis 'x'. It has a."),
    (lambda: Sweep(arms=A).edited(only=["a=b1"]), "Axis 'a' has no level 'b1'."),
    (lambda: Sweep(arms=zipped(A, make_axes([9, 2])[1])).edited(only=["a=a0", "b=b1"]),
     "No arm matches --only a=a0 --only b=b1."),
])
def test_what_is_refused(make, message):
    """Each in one sentence that says what, where and what would be right."""
    with pytest.raises(UserError, match=re.escape(message)):
        make()
