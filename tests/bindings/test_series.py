"""Many configurations one after the other are in gin as if each were alone."""

from __future__ import annotations

import gin
import pytest
import toy_configurables  # noqa: F401 - registers them

from deepmac_ablate import bindings
from deepmac_ablate.bindings import parsing
from deepmac_ablate.bindings.series import Series, behind, skeleton

FILE = """\
STEPS = 3
Studio.brush = @RoundBrush()
Studio.steps = %STEPS
Studio.rate = 0.5
thin/RoundBrush.width = 1
RoundBrush.tip = 'fine'
"""


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text(FILE)
    with bindings.isolated():
        yield


def text(*given):
    return bindings.read(["a.gin"], given)


def hold(series, *given):
    read = text(*given)
    return series.hold(read, skeleton(read))


ARMS = [
    ("Studio.rate = 1.0", "STEPS = 1"),
    ("Studio.rate = 1", "STEPS = 2"),
    ("Studio.rate = True", "STEPS = 2"),
    ("Studio.rate = 2.0", "STEPS = '2'"),
    ("Studio.rate = 1e999", "STEPS = 7"),
    ("Studio.rate = 0.1", "STEPS = 4"),
    ("Studio.rate = 0.1",),
    ("Studio.brush = @FlatBrush()",),
    ("Studio.brush = @thin/RoundBrush()",),
    ("Studio.brush = @FlatBrsh()",),
    ("Studio.steps = 9",),
    ("Studio.steps = %gin.REQUIRED",),
    ("Studio.steps = %STEPZ",),
]


@pytest.mark.parametrize("order", [1, -1])
def test_gin_holds_what_it_would_hold_if_each_were_alone(order):
    """Literals, types, references and mistakes: one after another, forwards and backwards."""
    series = Series()
    for arm in ARMS[::order]:
        problems = hold(series, *arm)
        held = bindings.config_text() if not problems else None
        alone = Series()
        assert problems == hold(alone, *arm), arm
        assert held == (bindings.config_text() if not problems else None), arm
        # The series goes on where it was.
        series.hold(text(*arm), skeleton(text(*arm)))


def test_values_of_another_type_are_told_apart():
    """1 equals True to Python; gin gets the one that was bound."""
    series = Series()
    assert [] == hold(series, "RoundBrush.wet = True", "RoundBrush.width = 1")
    problems = hold(series, "RoundBrush.wet = 1", "RoundBrush.width = 1")
    assert ["binding 'RoundBrush.wet = 1': wet must be bool, not 1 (int)."] == problems


def test_a_macro_is_judged_where_it_is_used():
    """The place of the problem is that of the parameter, as when it is parsed alone."""
    series = Series()
    assert [] == hold(series, "STEPS = 4")
    [problem] = hold(series, "STEPS = 'many'")
    assert problem.startswith("a.gin:3 'Studio.steps = %STEPS': steps must be int")
    assert [] == hold(series, "STEPS = 5")
    assert 5 == gin.get_configurable("Studio")().steps


def test_all_problems_are_told():
    """Of names and of values, in one go."""
    problems = hold(
        Series(), "Studio.stepz = 1", "RoundBrush.width = '3'", "Studio.on_stroke = @varnsh",
        "FlatBrush.grid = %gin.REQUIRED")
    assert 4 == len(problems)
    assert "Did you mean 'steps'?" in problems[0]
    assert "Did you mean 'varnish'?" in problems[1]
    assert {"width must be int", "FlatBrush.grid must be set"} == {
        part for part in ("width must be int", "FlatBrush.grid must be set")
        if any(part in problem for problem in problems[2:])}


def test_alike_configurations_are_not_parsed_again(monkeypatch):
    """Of a thousand that differ in one value, gin is given a thousand values."""
    series, given = Series(), []
    hold(series, "Studio.rate = 0.0")
    bind = parsing.bind
    monkeypatch.setattr(parsing, "bind", lambda binding: (given.append(binding), bind(binding)))
    for number in range(1, 1001):
        assert [] == hold(series, f"Studio.rate = {number}.0")
    assert 1000 == len(given)
    assert 1000.0 == gin.get_configurable("Studio")().rate


def test_skeletons_are_equal_where_only_literals_differ():
    """Names, references, macros and what comes from a file make another one."""
    base = skeleton(text("Studio.rate = 1.0"))
    assert base == skeleton(text("Studio.rate = 'x'"))
    others = ["Studio.steps = 1", "Studio.rate = %STEPS", "Studio.rate = [@varnish]",
              "thin/Studio.rate = 1.0"]
    assert len(others) + 1 == len({base, *(skeleton(text(other)) for other in others)})


def test_what_a_value_is_made_of_is_found_through_macros():
    """And what it is not made of is left out."""
    bound = text("N = %M", "M = 4", "RoundBrush.width = %N", "FlatBrush.hairs = [1]")
    found = behind(bound, "RoundBrush")
    assert {"RoundBrush.width", "RoundBrush.tip", "N", "M"} == set(found)
    assert {"thin/RoundBrush.width"} == set(behind(bound, "thin/RoundBrush")) - set(found)
