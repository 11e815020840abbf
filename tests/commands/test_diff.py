"""`deepmac-ablate diff`: in what two trials or gin files differ."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import bindings, cli
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial.trial import Trial, trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

ROOT = Path(__file__).resolve().parents[2]
R50 = "gin/experiments/deep_mask_head_rcnn_voc_r50.gin"
HG52 = "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin"

RECIPE = """\
Training.model = @Model()
Training.steps = %STEPS
STEPS = 100
Model.head = @Plain()
Plain.depth = 4
Runtime.log_every = 10
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text(RECIPE)
    return tmp_path / "a.gin"


def diff(capsys, *arguments):
    """The command's output as JSON."""
    assert 0 == cli.main(["diff", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def short(found):
    """Return the bindings of each side by name."""
    return {
        row["name"]: tuple(None if side is None else side["value"] for side in (row["a"], row["b"]))
        for row in found["differences"]}


def start(folder, trial, operative=None):
    """A workdir of a trial as `train` leaves it, its configuration written by gin's format."""
    text = bindings.read(trial.gin_files, trial.bindings)
    workdir = TrialWorkdir(folder)
    config = "".join(f"{binding}\n" for binding in bindings.merge(text.bindings).values())
    workdir.start(
        trial, trial_id(bindings.explicit_bindings(text.bindings), trial.seed), config)
    if operative:
        workdir.write_operative_config(operative)
    return folder


def plan(folder, *trials):
    planned = tuple(PlannedTrial(identity, trial, {}, None) for identity, trial in trials)
    SweepWorkdir(folder).write_plan(Plan("s", "?", {}, trials[0][1].arm, planned))
    return folder


def test_two_recipes_differ_in_their_heads(capsys, monkeypatch):
    """Of two published recipes only the mask head differs, with what each needs and its place."""
    monkeypatch.chdir(ROOT)
    found = diff(capsys, R50, HG52)
    both = {name: values for name, values in short(found).items() if None not in values}
    assert {"MaskRCNN.mask_head": ("@ConvMaskHead()", "@HourglassMaskHead()")} == both
    assert (None, "52") == short(found)["HourglassMaskHead.depth"]
    assert ("4", None) == short(found)["ConvMaskHead.num_convs"]
    assert "MaskRCNN.mask_head" == found["differences"][0]["name"]
    assert ["gin/mask_heads/hourglass52.gin:3"] == found["differences"][0]["b"]["where"]
    assert not found["same_trial"]


def test_differences_are_those_of_the_explicit_bindings(capsys, monkeypatch):
    """Seen against the trial's identity: exactly the names whose canonical text differs."""
    monkeypatch.chdir(ROOT)
    files = ("gin/experiments/shapes_small.gin", "gin/experiments/coco_small.gin")
    one, other = (
        bindings.explicit_bindings(bindings.read([file], []).bindings) for file in files)
    expected = {
        name: (one.get(name), other.get(name))
        for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    # What only evaluation reaches is compared, too.
    found = {
        name: it for name, it in short(diff(capsys, *files)).items() if "EvaluationD" not in name}
    assert expected == found


def test_macros_are_expanded(recipe, capsys):
    """The values differ where only a macro was bound; the line that sets it is named."""
    found = diff(capsys, recipe, recipe, "--b_bindings", "STEPS = 7")
    assert {"Training.steps": ("100", "7")} == short(found)
    assert ["a.gin:2", "a.gin:3"] == found["differences"][0]["a"]["where"]
    assert ["a.gin:2", "binding"] == found["differences"][0]["b"]["where"]
    assert {} == short(diff(capsys, recipe, recipe, "--a_bindings", "Training.steps = 100"))


def test_files_are_joined(recipe, capsys):
    """Several files on one side are read in their order, as the trainer does."""
    (recipe.parent / "b.gin").write_text("Plain.depth = 5\n")
    assert {"Plain.depth": ("4", "5")} == short(diff(capsys, "a.gin", "a.gin+b.gin"))
    assert {} == short(diff(capsys, "a.gin", "b.gin+a.gin"))


def test_the_table_shows_both_values_with_their_lines(recipe, capsys):
    """Value, place beneath, a dash for what a side does not reach, in the tree's order."""
    given = ["Model.head = @Deep()", "Deep.depth = 52", "STEPS = 7"]
    assert 0 == cli.main(["diff", "a.gin", "a.gin", *(f"--b-bindings={text}" for text in given)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        ["a.gin", "a.gin"],
        ["Model.head", "@Plain()", "@Deep()"], ["a.gin:4", "binding"],
        ["Deep.depth", "-", "52"], ["binding"],
        ["Plain.depth", "4", "-"], ["a.gin:5"],
        ["Training.steps", "100", "7"], ["a.gin:3", "binding"],
    ] == lines


@pytest.mark.parametrize(
    ("seeds", "given", "said"),
    [
        ((0, 0), [], "Nothing differs."),
        ((0, 1), [], "Only the seed differs: 0 and 1."),
        ((0, 0), ["Runtime.log_every = 3"],
         "Both have the same trial id: the differences do not affect it."),
    ],
)
def test_differences_outside_the_rows_are_described(recipe, tmp_path, capsys, seeds, given, said):
    """Nothing, only the seed, or only what is no part of a trial."""
    one = start(tmp_path / "one", Trial(("a.gin",), (), seeds[0], "x"))
    other = start(tmp_path / "other", Trial(("a.gin",), tuple(given), seeds[1], "x"))
    assert 0 == cli.main(["diff", str(one), str(other)])
    assert said == capsys.readouterr().out.splitlines()[-1]
    assert (seeds[0] == seeds[1]) == diff(capsys, one, other)["same_trial"]


def test_seeds_stand_in_the_table_beside_other_differences(recipe, tmp_path, capsys):
    """A difference of the seed is not hidden by others."""
    one = start(tmp_path / "one", Trial(("a.gin",), (), 3, "x"))
    other = start(tmp_path / "other", Trial(("a.gin",), ("STEPS = 1",), 4, "x"))
    cli.main(["diff", str(one), str(other)])
    assert ["seed", "3", "4"] == capsys.readouterr().out.splitlines()[1].split()


def test_trials_of_a_plan_are_found_by_id_and_by_arm(recipe, tmp_path, capsys):
    """A whole id, the beginning of one, or a label; whether they have been started or not."""
    deep = ("Plain.depth = 52",)
    folder = plan(
        tmp_path / "w",
        ("aa11", Trial(("a.gin",), (), 0, "base")), ("aa22", Trial(("a.gin",), (), 1, "base")),
        ("bb11", Trial(("a.gin",), deep, 0, "deep")), ("bb22", Trial(("a.gin",), deep, 1, "deep")))
    for a, b, seeds in (("aa11", "bb2", [0, 1]), ("base", "deep", None), ("base", "bb11", None)):
        found = diff(capsys, a, b, "--workdir", folder)
        assert {"Plain.depth": ("4", "52")} == short(found)
        assert (a, b, seeds) == (found["a"], found["b"], found["seeds"])
    start(folder / "trials/bb11", Trial(("a.gin",), (*deep, "STEPS = 9"), 0, "deep"))
    found = short(diff(capsys, "base", "bb11", "--workdir", folder))
    assert {"Plain.depth": ("4", "52"), "Training.steps": ("100", "9")} == found
    # Files go on being files.
    assert {"Plain.depth": ("4", "52")} == short(
        diff(capsys, "a.gin", "deep", "--workdir", plan(tmp_path / "v", (
            "cc11", Trial(("a.gin",), deep, 0, "deep")))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bas", "has no trial or arm 'bas'. Did you mean 'base'?"),
        ("aa", "'aa' is ambiguous: the ids of 2 trials begin with it (aa11 aa22)."),
    ],
)
def test_what_no_plan_has_is_refused(recipe, tmp_path, capsys, name, message):
    """The nearest name is named, or those that a beginning stands for."""
    folder = plan(
        tmp_path / "w",
        ("aa11", Trial(("a.gin",), (), 0, "base")), ("aa22", Trial(("a.gin",), (), 1, "base")))
    assert 2 == cli.main(["diff", "a.gin", name, "--workdir", str(folder)])
    assert message in capsys.readouterr().err


def test_a_folder_without_a_trial_is_refused(recipe, tmp_path, capsys):
    """So is a file that is not there, and a sweep that has no plan."""
    assert 2 == cli.main(["diff", "a.gin", str(tmp_path)])
    assert "There is no trial in" in capsys.readouterr().err
    assert 2 == cli.main(["diff", "a.gin", "b.gin"])
    assert "There is no gin file 'b.gin'.\n" in capsys.readouterr().err
    assert 2 == cli.main(["diff", "a.gin", "x", "--workdir", str(tmp_path)])
    assert "plan.json is missing" in capsys.readouterr().err


def test_a_trial_is_what_it_was_started_as(recipe, tmp_path, capsys):
    """If its gin files have changed or vanished since, config.gin is used, with a note."""
    trial = start(tmp_path / "w", Trial(("a.gin",), (), 0, "x"))
    before = tmp_path / "before.gin"
    before.write_text(RECIPE)
    assert [] == [*diff(capsys, before, trial)["differences"], *diff(capsys, before, trial)[
        "notes"][1:]]
    recipe.write_text(RECIPE.replace("depth = 4", "depth = 8"))
    found = diff(capsys, before, trial)
    assert {} == short(found)
    assert "its gin files have changed since it was started; this is from" in found["notes"][-1]
    found = diff(capsys, recipe, trial)
    assert {"Plain.depth": ("8", "4")} == short(found)
    assert "config.gin:5" in found["differences"][0]["b"]["where"][0]
    recipe.unlink()
    assert "cannot be read here" in diff(capsys, before, trial)["notes"][-1]


def test_defaults_that_changed_with_the_code_are_shown(recipe, tmp_path, capsys):
    """Unbound defaults that differ are listed, and those of classes that only one side uses."""
    operative = (
        "import some.module\nSTEPS = 100\nTraining.model = @Model()\nTraining.steps = %STEPS\n"
        "Plain.depth = 4\nPlain.width = 16\nPlain.rate = \\\n    0.5\n")
    one = start(tmp_path / "one", Trial(("a.gin",), (), 0, "x"), operative)
    other = start(
        tmp_path / "other", Trial(("a.gin",), ("STEPS = 7",), 0, "x"),
        operative.replace("16", "32").replace("100", "7") + "Plain.bias = True\nNew.flag = 1\n")
    found = diff(capsys, one, other)
    assert {"Training.steps": ("100", "7")} == short(found)
    assert [
        {"name": "New.flag", "a": None, "b": "1", "one_sided": True},
        {"name": "Plain.bias", "a": None, "b": "True", "one_sided": False},
        {"name": "Plain.width", "a": "16", "b": "32", "one_sided": False},
    ] == found["defaults"]
    assert 0 == cli.main(["diff", str(one), str(other)])
    lines = re.findall(r"(\S+) .*\n  (default.*?)\s*\n", capsys.readouterr().out)
    changed = "default, changed with the code"
    assert [("New.flag", "default"), ("Plain.bias", changed), ("Plain.width", changed)] == lines


@pytest.mark.slow
def test_it_needs_no_tensorflow_and_fits_a_terminal(tmp_path):
    """On a terminal of 80 columns no line of a table or tree is longer, and nothing is cut off."""
    code = ("import sys; from deepmac_ablate import cli; status = cli.main();"
            "assert not {'tensorflow', 'tf_keras'} & sys.modules.keys(); sys.exit(status)")
    for arguments in (["diff", R50, HG52], ["bindings", "--tree", "--gin_file", HG52]):
        shown = on_a_terminal([sys.executable, "-c", code, *arguments])
        assert max(len(line) for line in shown.splitlines()) <= 80
        joined = "".join(shown.split())
        assert "@HourglassMaskHead()" in joined
        assert "gin/mask_heads/hourglass52.gin:4" in joined


def on_a_terminal(command):
    """Run a command on a terminal of 80 columns; returns what it shows, without colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(
            command, cwd=ROOT, stdout=theirs, env=environment | {"PYTHONPATH": str(ROOT)}) as run:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            # How Linux says that the other end is closed.
            pass
        os.close(ours)
    assert 0 == run.returncode
    return shown.decode().replace("\r\n", "\n")
