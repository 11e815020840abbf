"""Workdirs and trial folders as a data frame, including unfinished and broken trials."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from etils import epath

from deepmac_ablate import results
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.results import arms, columns
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import launching, result_workdirs
from tests.helpers.result_workdirs import STEPS

ARMS = {"conv+2": {"head": "conv", "width": "2"}, "hg+2": {"head": "hg", "width": "2"},
        "hg+4": {"head": "hg", "width": "4"}}
RESULT = {
    "groundtruth/iou/seen": 0.1 + 0.2, "groundtruth/iou/novel": 0.25, "detections/box_ap/seen": 0,
    "detections/box_ap/novel": None, "train_seconds": 12.5, "dataset": "val@f00",
    "data_prefix": "data/val"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def sweep(folder, seeds: int = 2) -> SweepWorkdir:
    """A sweep of three arms, all of whose trials are finished."""
    a_plan = result_workdirs.plan(ARMS, seeds)
    workdir = result_workdirs.write(folder, a_plan)
    for number, planned in enumerate(a_plan.trials):
        result = RESULT | {"groundtruth/iou/seen": number / 7}
        code = provenance.current_code([])
        result_workdirs.finish(workdir, a_plan, planned.id, result, code=code)
    return workdir


def row(frame: pd.DataFrame, trial: str) -> dict:
    """The row of a trial, with None for what is missing."""
    [found] = frame[frame["trial"] == trial].astype(object).to_dict("records")
    return {name: None if pd.isna(value) else value for name, value in found.items()}


def end(folder: Path, role: str = "train", **fields) -> None:
    """Record the last attempt of a trial as its supervisor does."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    Attempt(**{"role": role, "number": 1, "state": "failed", "host": "elsewhere", "pid": 1,
               "pid_started": None, "started": now, "heartbeat": now, **fields}).write(folder)


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
        "dataset": "val@f00", "code_state": "", "commit": "abc",
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


def test_a_half_finished_sweep_has_the_status_of_each_trial(tmp_path):
    """Unfinished trials have a status, a cause and a step, but no metrics."""
    a_plan = result_workdirs.plan({"a": {"x": "1"}}, seeds=6)
    workdir = result_workdirs.write(tmp_path, a_plan)
    result_workdirs.finish(workdir, a_plan, "a-0", RESULT)
    for seed in (1, 2, 3, 4):
        result_workdirs.start(workdir, a_plan, f"a-{seed}")
        workdir.trial(f"a-{seed}").append_metrics(40, {"train/total_loss": 1.0})
        workdir.trial(f"a-{seed}").append_evaluation(40, {"groundtruth/iou/seen": 0.5})
    end(workdir.folder("a-1"), number=3, cause="ValueError: no")
    end(workdir.folder("a-2"), state="interrupted", cause="preempted")
    end(workdir.folder("a-3"), state="running")
    end(workdir.folder("a-4"), state="running", heartbeat=time.time() - 3600)
    frame = results.load(tmp_path)
    found = [
        tuple(values)
        for values in frame[["status", "cause", "attempts"]].itertuples(index=False)]
    assert found == [
        ("finished", "", 1), ("failed", "ValueError: no", 3), ("interrupted", "preempted", 1),
        ("running", "", 1), ("interrupted", "", 1), ("new", "", 0)]
    assert [STEPS, 40, 40, 40, 40, None] == [row(frame, f"a-{i}")["step"] for i in range(6)]
    assert [STEPS] * 6 == list(frame["steps"])
    assert [False] + [True] * 5 == list(frame["groundtruth/iou/seen"].isna())
    assert "" == row(frame, "a-5")["folder"]


@pytest.mark.slow
def test_a_launch_with_failed_trials_has_their_causes(tmp_path):
    """The causes of failed trials are those that their supervisors recorded."""
    a_plan = launching.plan((), ("end = fail no more memory",), ("end = diverge",))
    launching.launch(a_plan, tmp_path)
    frame = results.load(tmp_path)
    assert ["finished", "failed", "failed"] == list(frame["status"])
    assert "ValueError: no more memory" == frame["cause"][1]
    assert "The loss is nan" in frame["cause"][2]
    assert [1, 1, 1] == list(frame["attempts"])
    assert ["arm0", "arm1", "arm2"] == list(frame["axis"])


@pytest.mark.parametrize(("name", "content", "cause"), [
    ("result.json", '{"step": 1', "result.json is broken: it is not valid JSON ("),
    ("result.json", "", "result.json is broken: it is not valid JSON ("),
    ("result.json", "[1]", "result.json is broken: it is not a JSON object; delete it."),
    ("result.json", '{"a/b/seen": "0.5"}',
     "result.json is broken: 'a/b/seen' must be a number, got '0.5'; delete it."),
    ("result.json", '{"a/b/seen": 0.5, "step": "x"}',
     "result.json is broken: its 'step' is 'x'; delete it."),
    ("trial.json", "{", "trial.json is broken: it is not valid JSON ("),
    ("trial.json", '{"id": "conv+2-1", "seed": true}', "trial.json is broken: its 'seed'"),
    ("sweep.json", '{"levels": 3}', "sweep.json is broken: its 'levels' is 3; delete it."),
    ("attempts.jsonl", "{}\nx\n{}\n", "Line 2 of attempts.jsonl is broken"),
    ("attempts.jsonl", '{"steps": "many"}\n', "Line 1 of attempts.jsonl is broken: its 'steps'"),
])
def test_a_broken_file_fails_only_its_own_trial(tmp_path, name, content, cause):
    """A trial with a broken file has the status "failed" and names the file, also when reloaded."""
    workdir = sweep(tmp_path / "w")
    before = results.load(tmp_path / "w")
    (workdir.folder("conv+2-1") / name).write_text(content)
    for _ in range(2):
        after = results.load(tmp_path / "w")
        found = row(after, "conv+2-1")
        assert "failed" == found["status"]
        assert cause in found["cause"]
        assert {None} == {found[name] for name in columns.metrics(after)}
        assert ("conv+2", 1, "conv") == (found["arm"], found["seed"], found["head"])
        others = before["trial"] != "conv+2-1"
        pd.testing.assert_frame_equal(before[others], after[others])


def test_a_broken_state_is_ignored_once_there_is_a_result(tmp_path):
    """A broken state file fails an unfinished trial, but not a finished one."""
    workdir = sweep(tmp_path)
    for trial in ("conv+2-0", "conv+2-1"):
        (workdir.folder(trial) / "state-train.json").write_text("{}")
    (workdir.folder("conv+2-0") / "result.json").unlink()
    frame = results.load(tmp_path)
    assert ["failed"] + ["finished"] * 5 == list(frame["status"])
    assert "state-train.json" in frame["cause"][0]


def test_an_unreadable_file_fails_only_its_own_trial(tmp_path):
    """A folder in place of result.json fails only its own trial."""
    workdir = sweep(tmp_path / "w")
    (workdir.folder("hg+2-0") / "result.json").unlink()
    (workdir.folder("hg+2-0") / "result.json").mkdir()
    frame = results.load(tmp_path / "w")
    assert 5 == (frame["status"] == "finished").sum()
    assert "result.json cannot be read (Is a directory)." == row(frame, "hg+2-0")["cause"]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("plan.json", "{", r"plan\.json is broken: it is not valid JSON"),
    ("plan.json", "{}", r"plan\.json is not a valid plan \(KeyError\('trials'\)\); launch"),
    ("costs.json", "[]", r"costs\.json is broken: it is not a JSON object; delete it"),
])
def test_a_broken_plan_is_refused(tmp_path, name, content, message):
    """A broken plan or cost file is an error that names the file."""
    sweep(tmp_path / "w")
    (tmp_path / "w" / name).write_text(content)
    with pytest.raises(UserError, match=message):
        results.load(tmp_path / "w")


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


@pytest.mark.parametrize(("age", "status"), [(0, "running"), (3600, "interrupted")])
def test_a_trial_without_a_supervisor_runs_while_its_files_change(tmp_path, age, status):
    """A trial without a supervisor counts as interrupted after minutes without a sign of life."""
    [planned] = result_workdirs.plan({"alone": {}}).trials
    files = TrialWorkdir(tmp_path)
    files.start(planned.trial, "1d", "")
    assert ["new"] == list(results.load(tmp_path)["status"])
    line = {**result_workdirs.attempt(), "time": time.time() - age}
    (tmp_path / "attempts.jsonl").write_text(json.dumps(line) + "\n")
    frame = results.load(tmp_path)
    assert [status] == list(frame["status"])
    assert ("without a supervisor" in frame["cause"][0]) == (status == "interrupted")


def test_the_code_is_compared_with_the_present_one(tmp_path):
    """The code state is computed for the present code, also for cached trials."""
    a_plan = result_workdirs.plan({"a": {}}, seeds=4)
    workdir = result_workdirs.write(tmp_path, a_plan)
    now = provenance.current_code([])
    for seed, codes in enumerate([(now,), ("0ld",), ("0ld", now), (now, now)]):
        trial = f"a-{seed}"
        result_workdirs.finish(workdir, a_plan, trial, RESULT, code=codes[0])
        for code in codes[1:]:
            workdir.trial(trial).append_attempt(result_workdirs.attempt(step=300, code=code))
    for _ in range(2):
        frame = results.load(tmp_path)
        assert ["", "other code", "mixed code", ""] == list(frame["code_state"])
        assert [1, 1, 2, 2] == list(frame["attempts"])


def test_trials_of_earlier_versions_have_missing_values(tmp_path):
    """Values that an earlier version did not record are missing."""
    workdir = sweep(tmp_path)
    folder = workdir.folder("hg+2-0")
    (folder / "result.json").write_text('{"step": 600, "groundtruth/iou/novel": 0.5}')
    (folder / "attempts.jsonl").write_text('{"mode": "train_and_eval", "step": 0}\n')
    (tmp_path / "costs.json").write_text('{"hg+2-0": {"parameters": 3}}')
    found = row(results.load(tmp_path), "hg+2-0")
    unknown = ("train_seconds", "dataset", "parameters", "training_gmacs", "commit",
               "detections/box_ap/seen")
    assert {None} == {found[name] for name in unknown}
    assert ("finished", 0.5, "", 1) == (
        found["status"], found["groundtruth/iou/novel"], found["code_state"], found["attempts"])


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
    assert ["failed", "running", "interrupted", "failed", "finished", "new"] == list(
        frame["status"])
    moved = local["folder"].str.replace(f"{tmp_path}/w", "gs://bucket/w")
    pd.testing.assert_frame_equal(local.assign(folder=moved), frame)
    alone = results.load("gs://bucket/w/trials/hg+4-0")
    assert ["finished"] == list(alone["status"])


@pytest.mark.parametrize(("name", "message"), [
    ("w/trials", r"trials: it has neither plan\.json, trials/ nor trial\.json\. "
                 r"Did you mean '.*/w'\?"),
    ("ww", r"'.*/ww' does not exist\. Did you mean 'w'\?"),
    ("", r"Pass the folders below it: .*/alone .*/w\."),
    ("empty", "It is empty"),
    ("other", r"It contains notes\.txt\."),
    ("other/notes.txt", r"notes\.txt is a file; pass a sweep workdir or a trial folder\."),
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
