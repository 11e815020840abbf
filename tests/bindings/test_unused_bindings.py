"""Detection of bindings without effect, with real gin."""

from __future__ import annotations

import gin
import pytest

from deepmac_ablate import bindings
from deepmac_ablate.bindings import UnusedBindingError
from deepmac_ablate.errors import UserError
from tests.helpers import toy_configurables  # noqa: F401

FILE = """\
Studio.brush = @fine/RoundBrush()
Studio.steps = 20
RoundBrush.width = 7
fine/RoundBrush.tip = 'broad'
FlatBrush.hairs = [5]
UNUSED = 3
"""


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with bindings.isolated():
        yield


@pytest.fixture
def check(tmp_path):
    """Return a function that parses FILE and further bindings, constructs a studio and checks."""

    def run(given, explicit=None, file=FILE):
        (tmp_path / "base.gin").write_text(file)
        parsed = bindings.parse(["base.gin"], given)
        gin.get_configurable("Studio")(**(explicit or {}))
        bindings.check_all_bindings_used(parsed, roots=("Studio",))
        return [str(binding) for binding in bindings.find_unused_bindings(parsed)]

    return run


@pytest.mark.parametrize(
    "given",
    [
        ["Studio.steps = 3"],
        ["RoundBrush.width = 3"],
        ["fine/RoundBrush.width = 3"],
        ["Studio.brush = @FlatBrush()", "FlatBrush.hairs = [1]"],
        ["STEPS = 4", "Studio.steps = %STEPS"],
        ["A = 0.5", "B = %A", "Studio.rate = %B"],
        ["BRUSH = @FlatBrush()", "Studio.brush = %BRUSH", "FlatBrush.hairs = [%N]", "N = 2"],
        ["Studio.rate = %GOLDEN"],
        ["Studio.steps = 10"],
        ["Studio.spare = @wide/RoundBrush()", "wide/RoundBrush.width = 9"],
    ],
)
def test_bindings_that_are_used_pass(check, given):
    """Literals, scopes, macros, references, constants and values equal to defaults all count."""
    check(given)


def test_inherited_bindings_may_be_inactive_and_are_listed(check):
    """Bindings in files for modules that were not selected are listed, as are unused macros."""
    assert ["FlatBrush.hairs = [5]", "UNUSED = 3"] == check([])


@pytest.mark.parametrize(
    ("given", "explicit", "message"),
    [
        (
            ["FlatBrush.hairs = [1]"],
            {},
            "binding 'FlatBrush.hairs = [1]' had no effect: nothing uses FlatBrush; base.gin:1 "
            "'Studio.brush = @fine/RoundBrush()' selects another.",
        ),
        (
            ["varnish.coats = 2"],
            {"brush": None},
            "base.gin:1 'Studio.brush = @fine/RoundBrush()' had no effect: the code that calls "
            "Studio passes 'brush' explicitly, which overrides every binding; it must leave the "
            "argument to gin.",
        ),
        (
            ["Studio.steps = 3"],
            {"steps": 3},
            "binding 'Studio.steps = 3' had no effect: the code that calls Studio passes 'steps' "
            "explicitly, which overrides every binding; it must leave the argument to gin.",
        ),
        (
            ["fin/RoundBrush.width = 3"],
            {},
            "binding 'fin/RoundBrush.width = 3' had no effect: RoundBrush is used in scope 'fine', "
            "not in scope 'fin'. Did you mean 'fine'?",
        ),
        (
            ["train/Studio.rate = 0.5"],
            {},
            "binding 'train/Studio.rate = 0.5' had no effect: Studio is used without a scope, not "
            "in scope 'train'.",
        ),
        (
            ["RoundBrush.tip = 'fine'"],
            {},
            "binding 'RoundBrush.tip = 'fine'' had no effect: base.gin:4 'fine/RoundBrush.tip = "
            "'broad'' is more specific wherever RoundBrush is used.",
        ),
        (
            ["Studio.rate = 0.5", "Studio.rate = 0.25"],
            {},
            "binding 'Studio.rate = 0.5' had no effect: the later binding 'Studio.rate = 0.25' "
            "overrides it.",
        ),
        (
            ["STEPS = 3", "STEP = 5", "Studio.steps = %STEPS"],
            {},
            "binding 'STEP = 5' had no effect: nothing that took effect refers to %STEP. Did you "
            "mean 'STEPS'?",
        ),
        (
            ["HAIRS = [3]", "FlatBrush.hairs = %HAIRS", "Studio.steps = 3"],
            {},
            "binding 'HAIRS = [3]' had no effect: nothing that took effect refers to %HAIRS.",
        ),
    ],
)
def test_a_binding_without_effect_is_named_with_its_cause(check, given, explicit, message):
    """Each way in which gin ignores a binding has its own message."""
    with pytest.raises(UnusedBindingError) as caught:
        check(given, explicit)
    assert message == str(caught.value)


def test_a_caller_may_pass_an_argument_in_one_of_two_calls(check, monkeypatch):
    """A parameter that gin supplied to one of two calls took effect."""
    (parsed := bindings.parse([], ["Studio.steps = 3"]))
    gin.get_configurable("Studio")(steps=1)
    gin.get_configurable("Studio")()
    bindings.check_all_bindings_used(parsed, roots=("Studio",))


def test_nothing_constructed_means_nothing_took_effect():
    """Before anything is constructed, the check fails."""
    parsed = bindings.parse([], ["Studio.steps = 3"])
    with pytest.raises(UnusedBindingError, match=r"nothing uses Studio\.$"):
        bindings.check_all_bindings_used(parsed)


def test_a_value_changed_behind_the_bindings_is_found():
    """A binding that other code replaces has not taken effect with its value."""
    parsed = bindings.parse([], ["Studio.steps = 3"])
    with gin.unlock_config():
        gin.bind_parameter("Studio.steps", 4)
    gin.get_configurable("Studio")()
    with pytest.raises(UnusedBindingError, match=r"steps = 3' had no effect"):
        bindings.check_all_bindings_used(parsed, roots=("Studio",))


def test_what_code_calls_without_a_reference_is_refused():
    """A binding that the trial's id does not depend on would give two trials the same id."""
    parsed = bindings.parse([], ["sell.price = 2.0"])
    gin.get_configurable("sell")()
    gin.get_configurable("Studio")()
    with pytest.raises(UserError) as caught:
        bindings.check_all_bindings_used(parsed, roots=("Studio", "varnish"))
    assert (
        "binding 'sell.price = 2.0' took effect, but no @reference leads to it from Studio or "
        "varnish, so the trial's id would not depend on it."
    ) == str(caught.value)


def test_gin_keeps_its_state_as_relied_upon():
    """Pins gin 0.5.0: explicit arguments vanish from the operative configuration, and so on."""
    bindings.parse([], ["Studio.steps = 3", "Studio.rate = %GOLDEN"])
    with gin.config_scope("a"):
        gin.get_configurable("Studio")(steps=1)
    assert [("a", "toy_configurables.Studio")] == [
        key for key in gin.config._OPERATIVE_CONFIG if key[1] != "gin.constant"
    ]
    operative = gin.config._OPERATIVE_CONFIG["a", "toy_configurables.Studio"]
    assert "steps" not in operative
    assert "%toy_configurables.GOLDEN" == repr(operative["rate"])
    assert 3 == gin.config._CONFIG["", "toy_configurables.Studio"]["steps"]
    assert ["toy_configurables.GOLDEN"] == gin.config._CONSTANTS.matching_selectors("GOLDEN")
    configurable = gin.config._REGISTRY["toy_configurables.Studio"]
    assert ("Studio", "toy_configurables") == (configurable.name, configurable.module)


def test_calls_that_were_recorded_count_as_made(tmp_path):
    """Added to another configuration with the same values, they give its bindings effect."""
    text = "Studio.steps = 3\nRoundBrush.width = 4\nStudio.brush = @RoundBrush()\n"
    (tmp_path / "base.gin").write_text(text)
    given = ("Studio.rate = 0.5",)
    bindings.parse(["base.gin"], given)
    gin.get_configurable("sell")()
    with bindings.recorded_calls() as calls:
        gin.get_configurable("Studio")()
    assert {"Studio", "RoundBrush"} == {selector.rpartition(".")[2] for _, selector in calls}
    # What was called before the block is still known.
    assert "sell.price = 0.0" in bindings.operative_text()
    for rate, effective in (("0.5", True), ("0.25", False)):
        parsed = bindings.parse(["base.gin"], [f"Studio.rate = {rate}"])
        bindings.add_calls(calls)
        assert effective == (not list(bindings.unused_binding_problems(parsed, ("Studio",))))
