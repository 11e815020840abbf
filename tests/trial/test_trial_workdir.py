"""The files of a trial are complete or absent, even if the writer is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import line_files
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

TRIAL = Trial(("gin/base.gin",), ("A.x = 1", "A.y = 2"), 0, "base")


@pytest.fixture(params=["disk", "gs"])
def workdir(request, tmp_path):
    if request.param == "disk":
        return TrialWorkdir(tmp_path / "trial")
    request.getfixturevalue("object_store")
    return TrialWorkdir("gs://bucket/sweep/trial")


def test_everything_written_is_read_back(workdir):
    """Everything that is written is read back, and a result marks the trial as finished."""
    assert (None, None, None) == (
        workdir.read_trial(), workdir.read_trial_id(), workdir.read_result())  # fmt: skip
    assert [] == workdir.read_metrics() == workdir.read_attempts()
    workdir.start(TRIAL, "id1", "A.x = 1\n")
    assert (TRIAL, "id1") == (workdir.read_trial(), workdir.read_trial_id())
    before = time.time()
    workdir.append_attempt({"mode": "train", "step": 0, "modules": ["größe"]})
    workdir.append_attempt({"mode": "eval", "step": 20, "commit": None})
    first, second = workdir.read_attempts()
    assert {"mode": "train", "step": 0, "modules": ["größe"], "time": first["time"]} == first
    assert {"mode": "eval", "step": 20, "commit": None, "time": second["time"]} == second
    assert before <= first["time"] <= second["time"] <= time.time()
    workdir.write_operative_config("A.x = 1\nA.z = 0\n")
    workdir.append_metrics(10, {"loss": 1.5})
    workdir.append_metrics(20, {"loss": 1.25, "größe": 2})
    rows = workdir.read_metrics()
    assert [10, 20] == [row["step"] for row in rows]
    assert {"step": 20, "loss": 1.25, "größe": 2, "wall_time": rows[1]["wall_time"]} == rows[1]
    assert before <= rows[0]["wall_time"] <= rows[1]["wall_time"] <= time.time()
    workdir.write_evaluation({"per_class.csv": b"name,mask_ap\ncat,0.5\n"})
    assert not workdir.is_finished()
    workdir.complete_metrics()
    workdir.write_result({"mask_ap": 0.25})
    assert workdir.is_finished()
    assert {"mask_ap": 0.25} == workdir.read_result()
    assert {
        "attempts.jsonl", "config.gin", "metrics.jsonl", "operative_config.gin",
        "per_class.csv", "result.json", "trial.json",
    } == {path.name for path in workdir.path.iterdir()} - {"checkpoints"}  # fmt: skip
    assert "A.x = 1\nA.z = 0\n" == (workdir.path / "operative_config.gin").read_text()


def test_the_same_trial_may_start_again(workdir):
    """A resumed trial is recognised by its id, even if its arm was renamed."""
    workdir.start(TRIAL, "id1", "")
    renamed = Trial(TRIAL.gin_files, TRIAL.bindings, TRIAL.seed, "baseline")
    workdir.start(renamed, "id1", "A.x = 1\n")
    assert renamed == workdir.read_trial()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Trial(TRIAL.gin_files, ("A.x = 1", "A.y = 3"), 1, "base"),
         "its bindings has 'A.y = 2' where this one has 'A.y = 3' and its seed has 0 where this "
         "one has 1"),
        (Trial((), TRIAL.bindings, 0, "base"),
         "its gin_files has 'gin/base.gin' where this one has 'nothing'"),
        (TRIAL, "the gin files or the dataset have changed since it was started"),
    ],
)  # fmt: skip
def test_another_trial_is_refused(tmp_path, other, message):
    """The message about another trial names the differences, and the workdir does not change."""
    workdir = TrialWorkdir(tmp_path)
    workdir.start(TRIAL, "id1", "A.x = 1\n")
    with pytest.raises(UserError) as caught:
        workdir.start(other, "id2", "")
    assert (
        f"The workdir {tmp_path} holds another trial: {message}; choose another workdir."
    ) == str(caught.value)
    assert ("id1", "A.x = 1\n") == (workdir.read_trial_id(), (tmp_path / "config.gin").read_text())


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
    """A file in place of the folder is named in one sentence."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=f"^Cannot write the workdir {tmp_path}/taken/trial: "):
        TrialWorkdir(tmp_path / "taken" / "trial").start(TRIAL, "id1", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "not valid JSON"), ('{"a": ', "not valid JSON"), ("3", "not a JSON object"),
     ("\xff", "not Unicode text")],
)
def test_a_broken_result_is_named(tmp_path, text, reason):
    """A damaged result is no result; starting the trial again sets it aside."""
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=rf"^{tmp_path}/result\.json is broken: .*{reason}.*"):
        TrialWorkdir(tmp_path).read_result()
    assert not TrialWorkdir(tmp_path).is_finished()
    TrialWorkdir(tmp_path).start(TRIAL, "id1", "")
    assert TrialWorkdir(tmp_path).read_result() is None
    assert text.encode("latin-1") == (tmp_path / "result.json.broken").read_bytes()


def test_numbers_stay_numbers(tmp_path):
    """Numpy numbers become Python's, NaN and infinity null, and keys are sorted."""
    workdir = TrialWorkdir(tmp_path)
    result = {
        "z": np.float32(0.5), "a": np.int64(3), "ok": np.bool_(True), "nan": float("nan"),
        "inf": np.float64("-inf"), "list": [np.nan, (1, None)], "array": np.array([0.5, np.inf]),
        "by_class": {1: 0.5}, "name": "größe",
    }  # fmt: skip
    workdir.write_result(result)
    assert {
        "a": 3, "array": [0.5, None], "by_class": {"1": 0.5}, "inf": None,
        "list": [None, [1, None]], "name": "größe", "nan": None, "ok": True, "z": 0.5,
    } == workdir.read_result()  # fmt: skip
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert sorted(result) == list(json.loads(text))
    with pytest.raises(TypeError, match=r"^'loss' has type object, which "):
        workdir.append_metrics(1, {"loss": object()})
    assert [] == workdir.read_metrics()


def test_a_step_never_appears_twice(workdir):
    """Lines after the step that a run resumes from are dropped, even in a new process."""
    workdir.start(TRIAL, "id1", "")
    for step in (10, 20, 30):
        workdir.append_metrics(step, {"loss": step})
    resumed = TrialWorkdir(workdir.path)
    with pytest.raises(ValueError, match=r"^The step must be larger than 30, .*\.jsonl, got 20"):
        resumed.append_metrics(20, {"loss": 0})
    resumed.drop_metrics_after(10)
    resumed.append_metrics(20, {"loss": -1})
    assert [(10, 10), (20, -1)] == [(row["step"], row["loss"]) for row in resumed.read_metrics()]
    with pytest.raises(ValueError, match=r"^A metric must not be called 'wall_time'\.$"):
        resumed.append_metrics(30, {"wall_time": 1})


def test_an_evaluation_done_again_replaces_the_first(workdir):
    """A restarted evaluator replaces its own lines, not the trainer's."""
    workdir.start(TRIAL, "id1", "")
    workdir.append_metrics(30, {"loss": 1})
    for step, score in ((10, 0.1), (20, 0.2), (20, 0.3)):
        TrialWorkdir(workdir.path).append_evaluation(step, {"mask_ap": score})
    assert [(10, 0.1), (20, 0.3)] == [
        (row["step"], row["mask_ap"]) for row in workdir.read_evaluations()
    ]
    assert [30] == [row["step"] for row in workdir.read_metrics()]


def test_a_torn_last_line_is_left_out_and_cut_off(workdir):
    """The incomplete line of a killed writer is not read, nor joined with the next one."""
    workdir.start(TRIAL, "id1", "")
    workdir.append_metrics(1, {"loss": 1})
    path = workdir.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + '{"step": 2, "lößs'.encode()[:-4])
    again = TrialWorkdir(workdir.path)
    assert [1] == [row["step"] for row in again.read_metrics()]
    again.append_metrics(2, {"loss": 2})
    assert [1, 2] == [json.loads(line)["step"] for line in line_files.read_lines(path)]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    """Only the last line may be incomplete; any other broken line is an error."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"^Line 2 of .*/metrics\.jsonl is broken"):
        TrialWorkdir(tmp_path).read_metrics()


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    """A full disk neither damages the old result nor leaves a temporary file."""
    workdir = TrialWorkdir(tmp_path)
    workdir.write_result({"mask_ap": 0.5})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        workdir.write_result({"mask_ap": 0.75})
    assert {"mask_ap": 0.5} == workdir.read_result()
    assert ["result.json"] == [path.name for path in tmp_path.iterdir()]


def test_a_result_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The file's content is synced before the rename and the folder after it."""
    events = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    def replace(source, target):
        events.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    TrialWorkdir(tmp_path).write_result({})
    assert [f".result.json.{os.getpid()}.tmp", "rename", tmp_path.name] == events


WRITER = """
import sys
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
workdir = TrialWorkdir(sys.argv[1])
rows = workdir.read_metrics()
step = rows[-1]["step"] if rows else 0
print("ready", flush=True)
while True:
    step += 1
    workdir.append_metrics(step, {"loss": step, "noise": [step] * 2000})
    workdir.write_result({"step": step, "noise": [step] * 20000})
"""


def test_killing_the_writer_leaves_whole_files(tmp_path):
    """After SIGKILL at any moment the result is complete, and the next writer continues."""
    workdir = TrialWorkdir(tmp_path)
    last = 0
    for delay in (0.05, 0.11, 0.17):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        )
        assert "ready\n" == writer.stdout.readline()
        deadline = time.monotonic() + 30
        while len(workdir.read_metrics()) <= last + 1:
            assert time.monotonic() < deadline
        time.sleep(delay)
        writer.kill()
        writer.communicate()
        result, rows = workdir.read_result(), workdir.read_metrics()
        assert [result["step"]] * 20000 == result["noise"]
        assert list(range(1, len(rows) + 1)) == [row["step"] for row in rows]
        assert result["step"] in (len(rows), len(rows) - 1)
        assert len(rows) > last
        last = len(rows)


def test_paths_may_be_strings_or_paths(tmp_path):
    """A workdir may be given as a string or as a path."""
    assert TrialWorkdir(str(tmp_path)).path == TrialWorkdir(epath.Path(tmp_path)).path
    assert "gs://bucket/trial" == os.fspath(TrialWorkdir("gs://bucket/trial").path)


def test_overlays_replace_those_of_an_earlier_evaluation(tmp_path):
    """The overlays written last are read back; an empty folder has none."""
    workdir = TrialWorkdir(tmp_path)
    assert {} == workdir.read_overlays()
    workdir.write_overlays({10: b"a", 9: b"b"})
    workdir.write_overlays({10: b"c", 11: b"d"})
    assert {"10": b"c", "11": b"d"} == workdir.read_overlays()
    assert ["10.png", "11.png"] == sorted(path.name for path in (tmp_path / "overlays").iterdir())
