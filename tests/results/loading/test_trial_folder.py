"""Rows of single trials: unfinished, broken, or written by earlier versions."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time

import pandas as pd
import pytest

from deepmac_ablate import results
from deepmac_ablate.errors import BrokenFileWarning
from deepmac_ablate.launch.status_rows import status_summary
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.results import columns
from deepmac_ablate.trial import provenance
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import launching, result_workdirs
from tests.helpers.loaded_sweeps import RESULT, end, row, sweep
from tests.helpers.result_workdirs import STEPS


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


@pytest.mark.parametrize(("content", "problem"), [
    ('{"step": 1', "it is not valid JSON ("),
    ("", "it is not valid JSON ("),
    ("[1]", "it is not a JSON object; run"),
    ("{}", "it is empty; run"),
    ("[" * 100_000, "it nests too deeply; run"),
    ('{"a/b/seen": NaN}', "it is not valid JSON (it holds NaN)"),
    ('{"dataset": "\\ud800"}', "it is not Unicode text; run"),
    ('{"a/b/seen": "0.5"}', "its 'a/b/seen' must be a number from 0 to 1 or null, got '0.5'; run"),
    ('{"a/b/seen": -1}', "its 'a/b/seen' must be a number from 0 to 1 or null, got -1; run"),
    ('{"a/b/seen": 0.5, "step": "x"}', "its 'step' must be a whole number of at least 0 or null"),
])
def test_a_broken_result_is_no_result(tmp_path, content, problem):
    """The trial is interrupted in tables and for `status`, names the file, and has no metrics."""
    workdir = sweep(tmp_path / "w")
    before = results.load(tmp_path / "w")
    path = workdir.folder("conv+2-1") / "result.json"
    path.write_text(content)
    for _ in range(2):
        after = results.load(tmp_path / "w")
        found = row(after, "conv+2-1")
        assert "interrupted" == found["status"]
        assert found["cause"].startswith(f"{path} is broken: {problem}")
        assert {None} == {found[name] for name in columns.metrics(after)}
        assert ("conv+2", 1, "conv") == (found["arm"], found["seed"], found["head"])
        others = before["trial"] != "conv+2-1"
        pd.testing.assert_frame_equal(before[others], after[others])
    [same] = [one for one in StatusReader(workdir, workdir.read_plan()).read_rows_with_code()
              if one.id == "conv+2-1"]
    assert ("interrupted", found["cause"]) == (same.status, same.cause)
    assert found["cause"] in status_summary([same])


@pytest.mark.parametrize(("name", "content", "problem"), [
    ("trial.json", "{", "trial.json is broken: it is not valid JSON ("),
    ("trial.json", '{"id": "conv+2-1", "seed": true}', "trial.json has no field 'gin_files'"),
    ("sweep.json", '{"levels": 3}', "sweep.json is broken: its 'levels' must be an object"),
    ("attempts.jsonl", "{}\nx\n{}\n", "attempts.jsonl is broken: it is not valid JSON"),
    ("attempts.jsonl", '{"steps": "many"}\n', "attempts.jsonl is broken: its 'steps' must be"),
    ("attempts.jsonl", "null\n", "attempts.jsonl is broken: it is not a JSON object"),
])
def test_a_broken_file_beside_a_result_is_reported(tmp_path, name, content, problem):
    """The numbers of a finished trial stay, and a warning names the file, also when reloaded."""
    workdir = sweep(tmp_path / "w")
    before = results.load(tmp_path / "w")
    (workdir.folder("conv+2-1") / name).write_text(content)
    for _ in range(2):
        with pytest.warns(BrokenFileWarning, match=f"conv.2-1/.*{re.escape(problem)}"):
            after = results.load(tmp_path / "w")
        same = ["trial", "arm", "seed", "status", "cause", "head", *columns.metrics(before)]
        pd.testing.assert_frame_equal(before[same], after[same])


def test_a_broken_state_is_ignored_once_there_is_a_result(tmp_path):
    """A broken state file interrupts an unfinished trial, but not a finished one."""
    workdir = sweep(tmp_path)
    for trial in ("conv+2-0", "conv+2-1"):
        (workdir.folder(trial) / "state-train.json").write_text("{}")
    (workdir.folder("conv+2-0") / "result.json").unlink()
    frame = results.load(tmp_path)
    assert ["interrupted"] + ["finished"] * 5 == list(frame["status"])
    assert "state-train.json" in frame["cause"][0]


def _make_folder(path):
    path.mkdir()


def _make_loop(path):
    path.symlink_to(path.name)


def _link_to_a_long_name(path):
    path.symlink_to("n" * 300)


@pytest.mark.parametrize(("make", "reason"), [
    (_make_folder, "it is not a file"), (os.mkfifo, "it is not a file"),
    (_make_loop, "Too many levels of symbolic links"),
    (_link_to_a_long_name, "File name too long")])
@pytest.mark.parametrize("name", ["result.json", ""])
def test_what_cannot_be_read_fails_only_its_own_trial(tmp_path, make, reason, name):
    """A trial with a file or a folder that cannot be read is a failed row in every command."""
    workdir = sweep(tmp_path / "w")
    path = workdir.folder("hg+2-0") / name
    if name:
        path.unlink()
    else:
        shutil.rmtree(path)
    make(path)
    frame = results.load(tmp_path / "w")
    [same] = [one for one in StatusReader(workdir, workdir.read_plan()).read_rows_with_code()
              if one.id == "hg+2-0"]
    assert 5 == (frame["status"] == "finished").sum()
    if name or make is not _make_folder:
        found = row(frame, "hg+2-0")
        assert ("failed", "failed") == (found["status"], same.status)
        assert found["cause"] == same.cause
        assert f"{path}" in found["cause"]
        assert (reason if name or make is not os.mkfifo else "Not a directory") in found["cause"]


def test_a_folder_of_another_user_fails_only_its_own_trial(tmp_path, monkeypatch):
    """A folder that may not be entered is a failed row that names it."""
    workdir = sweep(tmp_path / "w")
    folder = str(workdir.folder("hg+2-0"))
    opened = os.open

    def refuse(path, *more):
        if str(path).startswith(folder):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    frame = results.load(tmp_path / "w")
    assert 5 == (frame["status"] == "finished").sum()
    assert "cannot be read: Permission denied." in row(frame, "hg+2-0")["cause"]


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


def test_platforms_are_those_of_the_work_in_use(tmp_path):
    """Steps that were repeated elsewhere do not count, unlike those that were continued."""
    a_plan = result_workdirs.plan({"a": {}}, seeds=3)
    workdir = result_workdirs.write(tmp_path, a_plan)
    for seed, step in enumerate([None, 0, 300]):
        trial = f"a-{seed}"
        result_workdirs.finish(workdir, a_plan, trial, RESULT, platform="P, 2 threads")
        if step is not None:
            workdir.trial(trial).append_attempt(
                result_workdirs.attempt(step=step, platform="Q, 8 threads, XLA"))
    for _ in range(2):
        assert ["P, 2 threads", "Q, 8 threads, XLA", "P, 2 threads; Q, 8 threads, XLA"] == list(
            results.load(tmp_path)["platform"])


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
