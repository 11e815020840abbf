"""Workdirs and trial folders as a data frame."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil

import pandas as pd
import pytest
from etils import epath

from deepmac_ablate import results
from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.results import arms, columns
from deepmac_ablate.results.formats import frame_text
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import result_workdirs
from tests.helpers.loaded_sweeps import ARMS, RESULT, end, row, sweep
from tests.helpers.result_workdirs import STEPS


def test_metrics_are_those_of_result_json(tmp_path):
    """The frame has every metric of every result.json, in the order of the plan."""
    workdir = sweep(tmp_path / "w")
    frame = results.load(tmp_path / "w")
    assert [planned.id for planned in workdir.read_plan().trials] == list(frame["trial"])
    for trial in frame["trial"]:
        result = json.loads((tmp_path / "w" / "trials" / trial / "result.json").read_text())
        found = row(frame, trial)
        names = sorted(name for name in result if name.count("/") == 2)
        assert names == columns.metrics(frame)
        assert [result[name] for name in names] == [found[name] for name in names]


def test_a_row_has_all_fixed_columns_and_axes(tmp_path):
    """The row of a finished trial agrees with its files, costs included."""
    workdir = sweep(tmp_path / "w")
    result_workdirs.write_costs(workdir, workdir.read_plan())
    found = row(results.load(str(tmp_path / "w")), "hg+4-1")
    fixed = {name: value for name, value in found.items() if "/" not in name}
    # 3 passes x (2 + 1 + 4 x 0.5) x 600 steps x 8 images.
    assert fixed == {
        "trial": "hg+4-1", "sweep": "heads", "arm": "hg+4", "baseline": False, "seed": 1,
        "status": "finished", "cause": "", "step": STEPS, "steps": STEPS, "attempts": 1,
        "train_seconds": 12.5, "parameters": 100, "training_gmacs": 72000.0,
        "dataset": "val@f00", "images": None, "dataset_images": None, "code_state": "",
        "commit": "abc", "platform": "", "continued_from": "",
        "folder": f"{tmp_path}/w/trials/hg+4-1", "head": "hg", "width": "4"}


def test_columns_and_their_types_are_as_documented(tmp_path):
    """Fixed columns come first, then axes in the order of the plan, then metrics by name."""
    sweep(tmp_path / "w")
    for workdirs in ([], [tmp_path / "w"]):
        frame = results.load(*workdirs)
        expected = {name: column.dtype for name, column in columns.FIXED.items()}
        if workdirs:
            expected |= {"head": "string", "width": "string"}
            expected |= dict.fromkeys(sorted(n for n in RESULT if n.count("/") == 2), "Float64")
        assert list(expected.items()) == [
            (name, str(dtype)) for name, dtype in frame.dtypes.items()]
    assert ["head", "width"] == columns.axes(frame)


def test_an_axis_may_have_the_name_of_a_column(tmp_path):
    """An axis with the name of a fixed column gets the prefix "axis:"."""
    result_workdirs.write(tmp_path, result_workdirs.plan({"a": {"seed": "many"}}))
    frame = results.load(tmp_path)
    assert ([0], ["many"]) == (list(frame["seed"]), list(frame["axis:seed"]))
    assert ["axis:seed"] == columns.axes(frame)


@pytest.mark.parametrize(("content", "message"), [
    ("{", "it is not valid JSON"),
    ("{}", "its 'name' must be a string, but is missing; launch"),
    ('{"name": "a", "question": "", "axes": {}, "baseline": "a", "trials": [{"id": "../b"}]}',
     "its 'id' must be the name of a folder, got '../b'; launch"),
])
def test_a_broken_plan_is_refused(tmp_path, content, message):
    """A broken plan is an error that names the file and the value."""
    sweep(tmp_path / "w")
    (tmp_path / "w" / "plan.json").write_text(content)
    with pytest.raises(UserError, match=rf"plan\.json is broken: {re.escape(message)}"):
        results.load(tmp_path / "w")


@pytest.mark.parametrize(("content", "problem"), [
    ("", "costs.json is broken: it is not valid JSON"),
    ("[]", "costs.json is broken: it is not a JSON object"),
    ('{"conv+2-0": null}', "The entry 'conv.2-0' of .*costs.json is broken"),
    ('{"conv+2-0": {"parameters": 1e308}}', "its 'parameters' must be a whole number")])
def test_broken_costs_cost_only_the_estimates(tmp_path, content, problem):
    """A table with a broken costs.json has all numbers but the costs, and a warning names it."""
    sweep(tmp_path / "w")
    before = results.load(tmp_path / "w")
    (tmp_path / "w" / "costs.json").write_text(content)
    with pytest.warns(BrokenFileWarning, match=f"^Costs are left out: .*{problem}"):
        after = results.load(tmp_path / "w")
    estimates = ["parameters", "training_gmacs"]
    assert after[estimates].isna().all(axis=None)
    pd.testing.assert_frame_equal(before.drop(columns=estimates), after.drop(columns=estimates))


def test_trials_of_earlier_launches_follow_those_of_the_plan(tmp_path):
    """Trials outside the plan follow by arm and seed; planned ones have the plan's names."""
    workdir = sweep(tmp_path)
    smaller = result_workdirs.plan({"mine": ARMS["hg+4"]}, seeds=1, name="renamed")
    [planned] = smaller.trials
    workdir.write_plan(smaller._replace(trials=(planned._replace(id="hg+4-0"),)))
    frame = results.load(tmp_path)
    assert ["hg+4-0", "conv+2-0", "conv+2-1", "hg+2-0", "hg+2-1", "hg+4-1"] == list(frame["trial"])
    assert [("mine", "renamed"), ("conv+2", "heads")] == list(
        zip(frame["arm"], frame["sweep"], strict=True))[:2]
    assert [True] + [False] * 5 == list(frame["baseline"])


def test_a_workdir_without_a_plan_can_be_loaded(tmp_path):
    """Without plan.json the trials are found by their own files; other files are ignored."""
    sweep(tmp_path)
    expected = results.load(tmp_path)
    (tmp_path / "plan.json").unlink()
    (tmp_path / "trials" / "notes").mkdir()
    (tmp_path / "trials" / "notes.txt").write_text("x")
    pd.testing.assert_frame_equal(expected, results.load(tmp_path))


def test_a_trial_in_several_workdirs_is_one_row(tmp_path):
    """A trial in two workdirs has one row, the finished or furthest one, with all levels."""
    one = result_workdirs.plan({"a": {"x": "1"}}, seeds=2)
    other = result_workdirs.plan({"a": {"y": "2"}}, seeds=2, name="other")
    first = result_workdirs.write(tmp_path / "1", one)
    second = result_workdirs.write(tmp_path / "2", other)
    result_workdirs.finish(second, other, "a-0", RESULT)
    for workdir, a_plan, step in ((first, one, 50), (second, other, 20)):
        result_workdirs.start(workdir, a_plan, "a-1")
        workdir.trial("a-1").append_metrics(step, {"train/total_loss": 1.0})
        end(workdir.folder("a-1"))
    frame = results.load(tmp_path / "1", tmp_path / "2")
    assert ["a-0", "a-1"] == list(frame["trial"])
    assert [("finished", "other"), ("failed", "heads")] == list(
        zip(frame["status"], frame["sweep"], strict=True))
    assert [50] == list(frame["step"][1:])
    assert [("1", "2")] * 2 == list(zip(frame["x"], frame["y"], strict=True))


def test_a_sweep_launched_with_other_bindings_is_another_sweep(tmp_path):
    """Workdirs with different trials for an arm and seed are two sweeps; more seeds are not."""
    plan = result_workdirs.plan({"a": {}, "b": {}}, seeds=2)
    more = plan._replace(trials=tuple(
        planned._replace(
            id=f"{planned.id}-more",
            trial=dataclasses.replace(planned.trial, seed=planned.trial.seed + 2))
        for planned in plan.trials))
    other = plan._replace(trials=tuple(
        planned._replace(id=f"{planned.id}-b") for planned in plan.trials))
    for name, a_plan in (("1", plan), ("2", more), ("3", other)):
        result_workdirs.write(tmp_path / name, a_plan)
    assert {"heads"} == set(results.load(tmp_path / "1", tmp_path / "2")["sweep"])
    frame = results.load(tmp_path / "1", tmp_path / "3")
    assert ["heads (1)"] * 4 + ["heads (3)"] * 4 == list(frame["sweep"])
    labels = [arm.label for arm in arms.group_by_arm(frame).arms]
    assert ["heads (1)/a", "heads (1)/b", "heads (3)/a", "heads (3)/b"] == labels


@pytest.mark.parametrize("change", ["bindings", "baseline"])
def test_sweeps_of_one_name_that_differ_are_apart(tmp_path, change):
    """The same arm with other bindings, or another baseline, is not merged with the first sweep."""
    plan = result_workdirs.plan({"a": {}, "b": {}})
    trials = [
        planned._replace(id=f"{planned.id}-other", trial=dataclasses.replace(
            planned.trial, seed=1, bindings=(
                *planned.trial.bindings, *["x = 2"] * (change == "bindings"))))
        for planned in plan.trials]
    other = plan._replace(trials=tuple(trials), baseline="ab"[change == "baseline"])
    for name, a_plan in (("1", plan), ("2", other)):
        result_workdirs.write(tmp_path / name, a_plan)
    frame = results.load(tmp_path / "1", tmp_path / "2")
    assert ["heads (1)"] * 2 + ["heads (2)"] * 2 == list(frame["sweep"])


def test_a_trial_of_two_sweeps_is_an_arm_of_both(tmp_path):
    """A shared baseline has one row, and both sweeps have differences to it."""
    shared = {"base": {"head": "base"}}
    one = result_workdirs.plan({**shared, "a": {"head": "a"}})
    other = result_workdirs.plan({"b": {"head": "b"}, **shared}, name="other", baseline="base")
    for number, a_plan in (("1", one), ("2", other)):
        workdir = result_workdirs.write(tmp_path / number, a_plan)
        for planned in a_plan.trials:
            result_workdirs.finish(workdir, a_plan, planned.id, RESULT)
    frame = results.load(tmp_path / "1", tmp_path / "2")
    assert ["base-0", "a-0", "b-0"] == list(frame["trial"])
    found = [(arm.label, arm.baseline) for arm in arms.group_by_arm(frame).arms]
    assert [("heads/base", True), ("heads/a", False), ("other/base", True), ("other/b", False)
            ] == found
    assert [None, "heads/base", None, "other/base"] == [
        row.against for row in results.arm_table(frame).rows]


def test_a_trial_alone_is_a_row(tmp_path):
    """A single trial folder can be loaded, with or without a sweep."""
    [planned] = result_workdirs.plan({"alone": {}}).trials
    files = TrialWorkdir(tmp_path / "alone")
    files.start(planned.trial, "1d", "")
    files.append_attempt(result_workdirs.attempt())
    files.write_result({"step": STEPS, **RESULT})
    sweep(tmp_path / "w")
    frame = results.load(tmp_path / "alone", tmp_path / "w" / "trials" / "hg+2-1")
    assert ["1d", "hg+2-1"] == list(frame["trial"])
    assert ["alone", "hg+2"] == list(frame["arm"])
    assert ["", "heads"] == list(frame["sweep"])
    assert [None, "hg"] == [row(frame, trial)["head"] for trial in frame["trial"]]


@pytest.mark.usefixtures("object_store")
def test_a_workdir_on_an_object_store_is_read_like_one_on_a_disk(tmp_path):
    """A workdir on an object store gives the same frame as on a disk, whatever its trials."""
    workdir = sweep(tmp_path / "w")
    states = {"conv+2-0": "failed", "conv+2-1": "running", "hg+2-0": "interrupted"}
    for trial, state in states.items():
        (workdir.folder(trial) / "result.json").unlink()
        workdir.trial(trial).append_metrics(70, {"train/total_loss": 1.0})
        end(workdir.folder(trial), state=state)
    (workdir.folder("hg+2-1") / "result.json").write_text("{")
    shutil.rmtree(workdir.folder("hg+4-1"))
    local = results.load(tmp_path / "w")
    for path in (tmp_path / "w").rglob("*"):
        if path.is_file():
            remote = epath.Path("gs://bucket/w") / path.relative_to(tmp_path / "w").as_posix()
            remote.write_bytes(path.read_bytes())
    frame = results.load("gs://bucket/w")
    assert ["failed", "running", "interrupted", "interrupted", "finished", "new"] == list(
        frame["status"])
    moved = local["folder"].str.replace(f"{tmp_path}/w", "gs://bucket/w")
    cause = local["cause"].str.replace(f"{tmp_path}/w", "gs://bucket/w")
    pd.testing.assert_frame_equal(local.assign(folder=moved, cause=cause), frame)
    alone = results.load("gs://bucket/w/trials/hg+4-0")
    assert ["finished"] == list(alone["status"])


@pytest.mark.parametrize(("name", "message"), [
    ("w/trials", r"trials: it has neither plan\.json, trials/ nor trial\.json\. "
                 r"Did you mean '.*/w'\?"),
    ("ww", r"'.*/ww' does not exist\. Did you mean 'w'\?"),
    ("", r"Pass the folders below it: .*/alone .*/w\."),
    ("empty", "It is empty"),
    ("other", r"It contains notes\.txt\."),
    ("other/notes.txt", r"notes\.txt is a file; pass a sweep workdir, a trial folder, or a \.csv"),
    ("nowhere/at/all", r"/nowhere/at/all' does not exist\. Pass a sweep workdir, a "),
])
def test_a_place_without_results_is_refused(tmp_path, name, message):
    """The message says what the place contains and what to pass instead."""
    sweep(tmp_path / "w", seeds=1)
    shutil.copytree(tmp_path / "w" / "trials" / "hg+4-0", tmp_path / "alone")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("no results")
    with pytest.raises(UserError, match=message):
        results.load(os.path.join(tmp_path, name))  # noqa: PTH118


def test_workdirs_with_the_same_name_are_shown_by_their_paths(tmp_path):
    """Sweeps in workdirs with the same name have the whole path added to their names."""
    plan = result_workdirs.plan({"a": {}})
    other = plan._replace(trials=tuple(
        planned._replace(id="other") for planned in plan.trials))
    for name, a_plan in (("x/w", plan), ("y/w", other)):
        result_workdirs.write(tmp_path / name, a_plan)
    frame = results.load(tmp_path / "x/w", tmp_path / "y/w")
    assert [f"heads ({tmp_path}/{name}/w)" for name in "xy"] == list(frame["sweep"])


def test_a_file_of_rows_is_loaded_like_the_workdir_it_came_from(tmp_path):
    """Numbers, axes and labels are equal; folders are not, as the files are somewhere else."""
    sweep(tmp_path / "w")
    frame = results.load(tmp_path / "w")
    (tmp_path / "rows.csv").write_text(frame_text(frame, "csv"))
    loaded = results.load(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(
        frame.assign(folder="", code_state="").astype(frame.dtypes), loaded)
    assert arms.group_by_arm(loaded).arms[0].baseline == arms.group_by_arm(frame).arms[0].baseline
    assert set(loaded["folder"]) == {""}


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,2\n", "rows.csv is no table of trials: it has no column 'trial'; 'deepmac-ablate rows "
                   "--per trial --output FILE.csv' writes one."),
    ("", "it has no column 'trial'"),
    ("trial,arm,seed,status,groundtruth/iou/novel\nx,a,0,finished,0.5\ny,a,one,finished,0.5\n",
     "rows.csv: seed must be a number, got 'one'."),
    ("trial,arm,seed,status,baseline\nx,a,0,finished,maybe\n",
     "rows.csv: baseline must be True or False, got 'maybe'."),
])
def test_another_csv_file_is_refused(tmp_path, text, message):
    """With the column or the cell that is wrong."""
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        results.load(tmp_path / "rows.csv")
