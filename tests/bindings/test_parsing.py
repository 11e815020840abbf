"""Parsing, checking and constructing with real gin."""

from __future__ import annotations

import gin
import pytest

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from tests.helpers import toy_configurables  # noqa: F401


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with bindings.isolated():
        yield


def studio():
    return gin.get_configurable("Studio")()


def test_files_then_bindings_reach_the_configurables(tmp_path):
    """Later files override earlier ones and bindings override files; macros and scopes work."""
    (tmp_path / "a.gin").write_text("WIDTH = 4\nStudio.brush = @fine/RoundBrush()\nStudio.steps=1")
    (tmp_path / "b.gin").write_text("Studio.steps = 2\nfine/RoundBrush.width = %WIDTH\n")
    parsed = bindings.parse(["a.gin", "b.gin"], ["Studio.rate = 1", "WIDTH = 5"])
    assert (2, 1) == (studio().steps, studio().rate)
    assert (5, 0.5, "fine", False, None) == studio().brush.settings
    assert 7 == len(parsed)
    assert gin.config_is_locked()


def test_parsing_again_forgets_what_was_bound_before():
    """Gin holds exactly the bindings of the last parse."""
    bindings.parse([], ["Studio.steps = 1"])
    bindings.parse([], ["Studio.rate = 0.5"])
    assert 10 == studio().steps
    assert "Studio.steps" not in bindings.config_text()


def test_a_refused_configuration_leaves_nothing_bound():
    """After an error no half of the configuration stays behind."""
    bindings.parse([], ["Studio.steps = 1"])
    with pytest.raises(UserError):
        bindings.parse([], ["Studio.steps = 2", "Studio.stepz = 3"])
    assert 10 == studio().steps


def test_config_text_parses_to_itself():
    """config.gin is a gin file that means the same again."""
    bindings.parse([], ["N = 3", "Studio.steps = %N", "Studio.brush = @a/FlatBrush()",
                        "a/FlatBrush.hairs = [1, 2, 3]"])  # fmt: skip
    text = bindings.config_text()
    bindings.parse([], [text])
    assert text == bindings.config_text()
    assert (3, [1, 2, 3]) == (studio().steps, studio().brush.hairs)


def test_operative_text_holds_defaults_and_what_was_bound():
    """operative_config.gin lists what was used, defaults included, and nothing else."""
    bindings.parse([], ["Studio.steps = 4", "RoundBrush.width = 9"])
    studio()
    assert "Studio.steps = 4" in bindings.operative_text()
    assert "Studio.rate = 0.1" in bindings.operative_text()
    assert "RoundBrush" not in bindings.operative_text()


WRONG = [
    ("Studoi.steps = 1", "no configurable is called 'Studoi'. Did you mean 'Studio'?"),
    ("Studio.stepz = 1", "Studio has no parameter 'stepz'. Did you mean 'steps'?"),
    ("FlatBrush.bristles = 1", "FlatBrush has no parameter 'bristles'. It has hairs, grid."),
    ("Studio.brush = @RoundBursh()", "no configurable is called 'RoundBursh'. Did you mean "
     "'RoundBrush'?"),
    ("Studio.steps = %STEPS", "macro %STEPS is not defined."),
    ("Studio.steps = %gin.REQUIRED", "Studio.steps must be set; add a binding such as "
     "'Studio.steps = ...'."),
    ("FlatBrush.hairs = [1, %gin.REQUIRED]", "FlatBrush.hairs must be set; add a binding such as "
     "'FlatBrush.hairs = ...'."),
    ("STEPS = %gin.REQUIRED", "STEPS must be set; add a binding such as 'STEPS = ...'."),
    ("hang.height = 2.0", "'hang' is ambiguous: write gallery.left.hang or gallery.right.hang."),
    ("mix.pigmets = {}", "mix has no parameter 'pigmets'. Did you mean 'pigments'?"),
    ("Studio.steps = '52'", "steps must be int, not '52' (str)."),
    ("Studio.steps = 5.0", "steps must be int, not 5.0 (float)."),
    ("Studio.steps = True", "steps must be int, not True (bool)."),
    ("Studio.rate = False", "rate must be float, not False (bool)."),
    ("Studio.rate = None", "rate must be float, not None (NoneType)."),
    ("RoundBrush.wet = 1", "wet must be bool, not 1 (int)."),
    ("RoundBrush.name = 3", "name must be str or None, not 3 (int)."),
    ("RoundBrush.tip = 'brod'", "tip must be 'fine' or 'broad', not 'brod' (str). Did you mean "
     "'broad'?"),
    ("FlatBrush.hairs = [1, 'b']", "hairs must be Sequence[int], not [1, 'b'] (list)."),
    ("FlatBrush.hairs = '12'", "hairs must be Sequence[int], not '12' (str)."),
    ("FlatBrush.grid = (1, 2, 3)", "grid must be tuple[int, int], not (1, 2, 3) (tuple)."),
    ("FlatBrush.grid = [1, 2]", "grid must be tuple[int, int], not [1, 2] (list)."),
    ("Studio.brush = 'RoundBrush'", "brush must be a Brush given as @reference() or None, not "
     "'RoundBrush' (str)."),
    ("Studio.brush = @FlatBrush", "brush must be a Brush given as @reference() or None, not "
     "@FlatBrush (without parentheses)."),
    ("Studio.steps = @sell", "steps must be int, not @sell (without parentheses)."),
    ("Studio.on_stroke = 'print'", "on_stroke must be a function given as @reference or None, not "
     "'print' (str)."),
    ("Studio.steps = @sell()", "steps must be int, not @sell() (a float)."),
    ("Studio.steps = @FlatBrush()", "steps must be int, not @FlatBrush() (a FlatBrush)."),
    ("RoundBrush.softness = 1.5", "softness must be float from 0 to 1 or None, not 1.5 (float)."),
    ("RoundBrush.softness = -1", "softness must be float from 0 to 1 or None, not -1 (int)."),
    ("RoundBrush.softness = 1e999", "softness must be float from 0 to 1 or None, not inf (float)."),
    ("RoundBrush.bristles = [5, 0]", "bristles must be Sequence[int from 1 to 1,000], not [5, 0] "
     "(list)."),
    ("mix.pigments = {'red': '1'}", "pigments must be dict[str, float], not {'red': '1'} (dict)."),
]  # fmt: skip


@pytest.mark.parametrize(("binding", "message"), WRONG)
def test_a_wrong_binding_is_named_with_what_would_be_right(binding, message):
    """Unknown names, wrong types and missing values are reported in one sentence each."""
    with pytest.raises(UserError) as caught:
        bindings.parse([], [binding])
    written = binding.replace("1e999", "inf")
    assert f"binding '{written}': {message}" == str(caught.value)


def test_a_wrong_binding_in_a_file_is_named_with_its_line(tmp_path):
    """Files are named with the line, included ones too."""
    (tmp_path / "a.gin").write_text("Studio.steps = 1\ninclude 'b.gin'\n")
    (tmp_path / "b.gin").write_text("\nSTEPS = '3'\n\nfine/Studio.steps = %STEPZ\n")
    with pytest.raises(UserError) as caught:
        bindings.parse(["a.gin"], [])
    assert (
        "b.gin:4 'fine/Studio.steps = %STEPZ': macro %STEPZ is not defined. Did you mean 'STEPS'?"
    ) == str(caught.value)


@pytest.mark.parametrize(("binding", "message"), [
    (f"Studio.steps = {'[' * 1000}{']' * 1000}", " is nested too deeply."),
    (f"Studio.steps = {'[' * 60}{']' * 60}", "the value of steps is nested more than 50 deep."),
    (f"include '{'a' * 5000}.gin'", "there is no gin file 'aaaaa"),
    ("include '~nobody-here/a.gin'", "there is no gin file '~nobody-here/a.gin': "),
])
def test_values_and_names_beyond_measure_are_refused(binding, message):
    """Nesting, the length of a name and an unknown home end in one short sentence."""
    with pytest.raises(UserError) as caught:
        bindings.parse([], [binding])
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250


def test_chains_of_macros_and_files_have_an_end(tmp_path):
    """A thousand macros or files that lead to each other are refused."""
    macros = [f"M{i} = %M{i + 1}" for i in range(1500)]
    with pytest.raises(UserError, match=r"The macro %M\d+ is nested too deeply\."):
        bindings.explicit_bindings(bindings.read([], ["Training.x = %M0", *macros]).bindings)
    for i in range(60):
        (tmp_path / f"{i}.gin").write_text(f"include '{i + 1}.gin'\n")
    with pytest.raises(UserError, match="more than 50 files include each other in a row"):
        bindings.read(["0.gin"], [])


def test_a_macro_of_the_wrong_type_is_refused_where_it_is_used():
    """The value of a macro is checked against the parameter's annotation; both are named."""
    with pytest.raises(UserError) as caught:
        bindings.parse([], ["N = '3'", "Studio.steps = %N"])
    assert (
        "binding 'Studio.steps = %N' (binding 'N = '3''): steps must be int, not '3' (str)."
    ) == str(caught.value)


@pytest.mark.parametrize(
    "binding",
    ["Studio.rate = 1", "RoundBrush.name = None", "RoundBrush.name = 'x'", "FlatBrush.hairs = ()",
     "FlatBrush.grid = (3, 4)", "Studio.brush = @FlatBrush()", "Studio.brush = None",
     "Studio.rate = @sell()", "RoundBrush.softness = 1", "RoundBrush.softness = None",
     "RoundBrush.bristles = (1, 1000)", "Studio.kind = @FlatBrush",
     "mix.pigments = {'red': 1}", "gallery.left.hang.height = 2", "frame.price = 'any'",
     "Studio.rate = %GOLDEN", "Studio.on_stroke = @sell"],
)  # fmt: skip
def test_a_right_binding_passes(binding):
    """An int passes as a float, ends of ranges, choices and references of the type fit."""
    bindings.parse([], [binding])
    assert binding.partition(" =")[0].rpartition(".")[2] in bindings.config_text()


def test_required_values_may_be_given_later(tmp_path):
    """A file's REQUIRED is satisfied by a later binding."""
    (tmp_path / "a.gin").write_text("STEPS = %gin.REQUIRED\nStudio.steps = %STEPS\n")
    bindings.parse(["a.gin"], ["STEPS = 7"])
    assert 7 == studio().steps


def test_an_import_that_fails_is_named(tmp_path):
    """A missing module is named with the line that wants it."""
    (tmp_path / "a.gin").write_text("import deepmac_ablate.mask_hats\n")
    with pytest.raises(UserError) as caught:
        bindings.parse(["a.gin"], [])
    assert (
        "a.gin:1 'import deepmac_ablate.mask_hats': No module named 'deepmac_ablate.mask_hats'."
    ) == str(caught.value)


def test_an_import_registers_configurables(tmp_path, monkeypatch):
    """A gin file may import the module whose configurables it binds."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toy_easel.py").write_text("import gin\n@gin.register\ndef easel(legs: int): pass")
    (tmp_path / "a.gin").write_text("import toy_easel\neasel.legs = 3\n")
    bindings.parse(["a.gin"], [])
    assert "easel.legs = 3" in bindings.config_text()


def test_dynamic_registration_is_refused(tmp_path):
    """Gin's dynamic registration would change every name and is not supported."""
    (tmp_path / "a.gin").write_text("from __gin__ import dynamic_registration\n")
    with pytest.raises(UserError, match=r"^a\.gin:1 'from __gin__ import dynamic_registration': "):
        bindings.parse(["a.gin"], [])


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Studio.rate = 1e999", "binding 'Studio.rate = inf': gin cannot represent this value."),
        ("sign.text = 'me'", "binding 'sign.text = 'me'': Configurable 'sign' has denylisted kwarg "
         "'text'."),
    ],
)  # fmt: skip
def test_what_only_gin_finds_is_still_one_sentence(binding, message):
    """Errors that only gin detects name the binding too."""
    with pytest.raises(UserError) as caught:
        bindings.parse([], [binding])
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("varnish.colour = 'red'", "varnish.coats"), ("varnish.coats = 1", "varnish.colour")],
)
def test_a_parameter_without_value_is_named_when_it_is_constructed(given, missing):
    """Neither a missing argument nor gin.REQUIRED in a signature ends in a traceback."""
    bindings.parse([], [given])
    with pytest.raises(UserError) as caught, bindings.constructing():
        gin.get_configurable("varnish")()
    assert f"{missing} must be set; add a binding '{missing} = ...'." == str(caught.value)


def test_a_user_error_within_a_configurable_stays_one_sentence():
    """The lines that gin appends about enclosing calls are removed."""
    bindings.parse([], ["sell.price = -1.0"])
    with pytest.raises(UserError) as caught, bindings.constructing():
        gin.get_configurable("sell")()
    assert "The price -1.0 is negative; give at least 0." == str(caught.value)


def test_other_errors_within_a_configurable_pass_unchanged():
    """A bug stays a bug with its own type and text."""

    @gin.register("toy_bug")
    def bug(size: int) -> None:
        "one" + size

    bindings.parse([], [])
    with pytest.raises(TypeError, match="can only concatenate"), bindings.constructing():
        gin.get_configurable("toy_bug")(3)


def test_signature_problems_name_what_would_let_a_mistake_pass():
    """**kwargs, missing annotations and unresolvable ones are reported."""
    assert [
        "Parameter 'price' of toy_configurables.frame: its annotation does not resolve "
        "(name 'Decimal' is not defined).",
        "Parameter 'wood' of toy_configurables.frame has no annotation.",
        "toy_configurables.mix has **kwargs, which accepts every misspelled parameter.",
    ] == bindings.signature_problems("toy_configurables")


def test_all_problems_are_reported():
    """Problems with names and values are reported together; gin then holds nothing."""
    problems = bindings.configure_gin(bindings.read([], [
        "Studio.stepz = 1", "RoundBrush.width = '3'", "Studio.on_stroke = @varnsh",
        "FlatBrush.grid = %gin.REQUIRED"]))
    parts = ["Did you mean 'steps'?", "Did you mean 'varnish'?", "width must be int",
             "FlatBrush.grid must be set"]
    for problem, part in zip(problems, parts, strict=True):
        assert part in str(problem)
    assert "" == bindings.config_text()
