"""Plans: ids of trials, and messages about the problems of a sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deepmac_ablate import bindings, cli
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import Sweep, axis, grid, plan, switch, values
from deepmac_ablate.sweep.sweep_file import load_sweep
from deepmac_ablate.trial.trial import trial_id

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "gin/experiments/shapes_small.gin"
SWEEPS = [
    (path.relative_to(ROOT), name) for path in sorted(ROOT.glob("sweeps/*.py"))
    for name in re.findall(r"^([A-Z_]+) = Sweep\(", path.read_text(), re.MULTILINE)]
HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")


def problems(sweep: Sweep) -> list[str]:
    return [sentence for _, sentence in plan.resolve_sweep(sweep)[1]]


@pytest.mark.parametrize(("path", "name"), SWEEPS, ids=str)
def test_sweeps_of_the_house_are_short_and_right(path, name, monkeypatch):
    """At most 50 lines, a question and a claim, no TensorFlow or XManager, no trial twice."""
    monkeypatch.chdir(ROOT)
    text = path.read_text()
    assert len(text.splitlines()) <= 50
    assert "tensorflow" not in text
    assert "import xmanager" not in text
    sweep = load_sweep(f"{path}:{name}")
    assert path.stem + ("" if name == "SWEEP" else f"_{name.lower()}") == sweep.name
    assert "?" in sweep.question
    assert re.search(r"\nClaim \((arXiv:[\d.]+|ours)\): ", text)
    resolved, found = plan.resolve_sweep(sweep)
    assert [] == found
    ids = [planned.id for planned in resolved.trials]
    assert len(set(ids)) == len(ids) == sum(len(arm.seeds) for arm in sweep.arms)
    assert resolved.baseline in resolved.arms


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(("path", "name"), SWEEPS, ids=str)
def test_every_arm_of_the_house_can_be_built(path, name, tmp_path, monkeypatch, capsys):
    """All sweeps pass their plan's checks; the deepest heads have the most parameters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert 0 == cli.main(["plan", f"{path}:{name}", "--json", "--workdir", str(tmp_path / "w")])
    trials = json.loads(capsys.readouterr().out)["trials"]
    costs = {trial["arm"]: trial["cost"] for trial in trials}
    assert all(cost["mask_gmacs"] > 0 for cost in costs.values())
    if {"hourglass10", "hourglass100"} <= costs.keys():
        depths = [costs[f"hourglass{depth}"]["parameters"] for depth in (10, 20, 32, 52, 100)]
        assert sorted(depths) == depths


def test_a_trial_is_what_the_trainer_makes_of_it():
    """Id and steps of a planned trial against reading its own gin files and bindings."""
    sweep = Sweep(RECIPE, "STEPS = 7", arms=grid(HEAD, values("LEARNING_RATE", 0.1, 0.2)), seeds=2)
    resolved, _ = plan.resolve_sweep(sweep)
    assert 8 == len(resolved.trials)
    for planned in resolved.trials:
        trial = planned.trial
        text = bindings.read(trial.gin_files, trial.bindings)
        expected = trial_id(bindings.explicit_bindings(text.bindings), trial.seed)
        assert (expected, 7) == (planned.id, planned.steps)
    assert resolved == plan.Plan.from_json(json.loads(json.dumps(resolved.to_json())))


def test_order_and_names_make_no_other_trial():
    """The same levels under other names and from another axis order have the same ids."""
    box = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")
    renamed = axis("head", shallow="gin/mask_heads/default.gin",
                   deep="gin/mask_heads/hourglass20.gin")
    one = plan.resolve_sweep(Sweep(RECIPE, arms=grid(HEAD, box), seeds=2))[0]
    other = plan.resolve_sweep(Sweep(RECIPE, arms=grid(box, renamed), seeds=[1, 0]))[0]
    assert {planned.id for planned in one.trials} == {planned.id for planned in other.trials}


def test_two_arms_that_are_the_same_are_refused():
    """Here by an axis that reaches the evaluation alone, and by a switch that rebinds a value."""
    evaluation = values("Evaluation.every", 0, 10)
    assert ["same trial as 0: the arms do not differ in any binding that training "
            "uses."] == problems(Sweep(RECIPE, arms=evaluation))
    rebound = switch("lr", "LEARNING_RATE = 0.1")
    assert "same trial as off" in problems(Sweep(RECIPE, arms=rebound))[0]


def test_a_level_that_something_else_replaces_is_refused():
    """By the sweep's own binding, by the command line, by another axis."""
    depth = values("HourglassMaskHead.depth", 10, 20)
    expected = "of depth=10 is replaced by binding 'HourglassMaskHead.depth = 52'"
    sweep = Sweep(RECIPE, arms=depth).edited(["HourglassMaskHead.depth = 52"])
    assert expected in problems(sweep)[0]
    crop = axis("crop", {"20": ["gin/mask_heads/hourglass20.gin"]})
    both = Sweep(RECIPE, arms=grid(crop, depth))
    [problem] = problems(both)
    assert problem == (
        "gin/mask_heads/hourglass20.gin:4 'HourglassMaskHead.depth = 20' of crop=20 is replaced by "
        "binding 'HourglassMaskHead.depth = 10', so the arm does not have this level.")


def test_all_problems_are_reported_together():
    """A missing file and a line that is no gin, each with the arm it is in."""
    bad = axis("bad", missing="gin/mask_heads/hourglas20.gin", broken="STEPS = = 3", fine="X = 1")
    _, found = plan.resolve_sweep(Sweep(RECIPE, arms=bad))
    error = plan.SweepProblems("x", found)
    lines = str(error).splitlines()
    assert "Sweep x has 2 problems:" == lines[0]
    assert lines[1].startswith("  missing: There is no gin file 'gin/mask_heads/hourglas20.gin'.")
    assert "Did you mean 'gin/mask_heads/hourglass20.gin'?" in lines[1]
    assert lines[2].startswith("  broken: binding 'STEPS = = 3' is not valid gin")


def test_a_mistake_that_all_arms_share_is_reported_once():
    """With the first arm that has it."""
    error = plan.SweepProblems("x", [("a", "It is wrong."), ("b", "It is wrong.")])
    assert "Sweep x has a problem:\n  a: It is wrong." == str(error)


@pytest.mark.parametrize(("text", "message"), [
    ("x = 1", "x.py must define a sweep, as in 'SWEEP = Sweep(...)'; it defines none."),
    ("from deepmac_ablate.sweep import *\nA = Sweep(arms=switch('x', 'X = 1'))\n"
     "B = Sweep(arms=switch('x', 'X = 1'))",
     "x.py defines 2 sweeps, A, B; choose one, as in {folder}/x.py:A."),
    ("1 / 0", ":1: ZeroDivisionError: division by zero"),
    ("\nx = = 1", ":2: SyntaxError: invalid syntax"),
    ("\nfrom deepmac_ablate.sweep.script import script_main",
     ":2: deepmac_ablate.sweep.script was removed; delete this import and the line"),
    ("from deepmac_ablate.sweep import *\nzipped(axis('a', x=[]), axis('b', x=[], y=[]))",
     ":2: zipped() needs parts of equal length, got lengths 1, 2."),
])
def test_a_file_without_a_sweep_is_refused(tmp_path, text, message):
    """The file, the line, and what is wrong."""
    (tmp_path / "x.py").write_text(text)
    with pytest.raises(UserError, match=re.escape(message.format(folder=tmp_path))):
        load_sweep(str(tmp_path / "x.py"))


def test_a_sweep_of_a_file_is_chosen_by_its_name(tmp_path):
    """SWEEP without a name; the only one whatever its name; a name that is not there is refused."""
    path = tmp_path / "x.py"
    head = "from deepmac_ablate.sweep import *\n"
    path.write_text(head + "A = Sweep(arms=switch('a', 'X = 1'))\n")
    assert "x" == load_sweep(str(path)).name
    path.write_text(path.read_text() + "SWEEP = Sweep(arms=switch('b', 'X = 1'))\n")
    chosen = [load_sweep(f"{path}{name}") for name in ("", ":SWEEP", ":A")]
    assert [("x", ["b"]), ("x", ["b"]), ("x_a", ["a"])] == [
        (sweep.name, list(sweep.axes)) for sweep in chosen]
    with pytest.raises(UserError, match=r"x\.py has no sweep 'B'\. It has A, SWEEP\.$"):
        load_sweep(f"{path}:B")


def test_a_sweep_that_is_not_there():
    """With the nearest that is."""
    with pytest.raises(UserError, match=re.escape("Did you mean 'sweeps/quickstart.py'?")):
        load_sweep("sweeps/quikstart.py")


def test_a_sweep_file_in_utf16_is_refused(tmp_path):
    """Python reads UTF-8 only, with or without a byte order mark."""
    (tmp_path / "x.py").write_text("SWEEP = 1\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"x\.py is UTF-16 text; save it as UTF-8"):
        load_sweep(str(tmp_path / "x.py"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only", "mask_head=hourglas20"], "no level 'hourglas20'. Did you mean 'hourglass20'?"),
    (["--seeds", "x"], "--seeds must be a number such as 3 or a list such as 0,1,7, got 'x'."),
    (["--gin_bindings", "STEPS"], "'STEPS'"),
])
def test_mistakes_of_the_command_line_end_with_one_sentence(arguments, message, capsys):
    """Exit status 2, no traceback, nothing on stdout."""
    assert 2 == cli.main(["plan", str(ROOT / "sweeps/quickstart.py"), *arguments])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert message in printed.err
    assert "Traceback" not in printed.err
