"""A sweep whose workdir is on ``gs://`` is read, followed and shown like one on a disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import logs, trial_status
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.storage import file_io
from tests.helpers import result_workdirs
from tests.helpers.supervised import wait_until
from tests.launch.test_trial_status import a_submission, an_attempt

RECORDED = Path(__file__).parents[1] / "golden" / "sweeps" / "recorded_a"
W = "gs://bucket/w"


def copy(folder, server):
    """Copy a folder from a disk to `W`."""
    server.objects.update({
        f"bucket/w/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*") if path.is_file()})


def write_sweep(workdir):
    """Write eight trials: two finished, two new, one of each other status; return the plan."""
    plan = result_workdirs.plan({arm: {"arm": arm} for arm in "abcd"}, seeds=2)
    workdir.write_plan(plan)
    ids = [planned.id for planned in plan.trials]
    for trial in ids[:2]:
        result_workdirs.finish(workdir, plan, trial, {"groundtruth/iou/novel": 0.5})
    for trial, state in zip(ids[2:5], ("running", "failed", "interrupted"), strict=True):
        result_workdirs.start(workdir, plan, trial)
        workdir.trial(trial).append_metrics(10, {"train/total_loss": 2.0})
        workdir.trial(trial).append_metrics(20, {"train/total_loss": 1.0})
        an_attempt(state, submission=None).write(workdir.location(trial))
    result_workdirs.start(workdir, plan, ids[5])
    a_submission("queued", message="no machines").write(workdir.location(ids[5]))
    return plan


def test_rows_are_the_same_as_on_a_disk(object_store, tmp_path):
    """Trials of each status have the same step, loss, cause and log, and about the same time."""
    plan = write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    local, remote = (
        [row._replace(seconds=round(row.seconds, -2))
         for row in StatusReader(SweepWorkdir(where), plan).read_rows_with_code()]
        for where in (tmp_path, W))
    assert local == remote
    assert ["finished", "finished", "running", "failed", "interrupted", "queued", "new", "new"] == [
        row.status for row in remote]
    assert [(20, 1.0)] * 3 == [(row.step, row.loss) for row in remote[2:5]]
    assert ["", "its own cause", "its own cause", "no machines"] == [
        row.cause for row in remote[2:6]]
    assert "trials/b-1/logs/train-1.log" == remote[3].log


def test_changes_are_seen_and_finished_trials_are_not_read_again(object_store, tmp_path):
    """One trial finishes and one is launched; the server counts the requests."""
    plan = write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    reader = StatusReader(SweepWorkdir(W), plan)
    reader.read_rows()
    object_store.objects["bucket/w/trials/b-0/result.json"] = b'{"step": 1}'
    a_submission("queued").write(f"{W}/trials/d-0")
    object_store.requests.clear()
    assert ["finished"] * 3 + ["failed", "interrupted", "queued", "queued", "new"] == [
        row.status for row in reader.read_rows()]
    paths = {request.path for request in object_store.requests}
    assert not [path for path in paths if "/trials/a-" in path or "/trials/d-1" in path]
    assert "queued" == reader.read_row(plan.trials[6]).status


def test_only_the_tail_of_a_metrics_log_is_read(object_store, tmp_path):
    """The last complete line is found without a download of the megabytes before it."""
    plan = write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    line = b'{"step": %d, "wall_time": 1.0, "train/total_loss": 0.5}\n'
    object_store.objects["bucket/w/trials/b-0/metrics.jsonl"] = b"".join(
        line % step for step in range(20_000)) + b'{"step": 20000, "wa'
    object_store.requests.clear()
    assert 19_999 == StatusReader(SweepWorkdir(W), plan).read_row(plan.trials[2]).step
    [request] = [
        each for each in object_store.requests if each.path.endswith("b-0/metrics.jsonl")]
    assert "bytes=-16384" == request.headers["range"]


def test_a_launch_writes_its_files_to_gs(object_store, monkeypatch, tmp_path):
    """Plan, costs and a folder for each launch; only XManager's database is on a disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    workdir = SweepWorkdir(W)
    plan = result_workdirs.plan({"a": {"arm": "a"}}, seeds=2)
    workdir.write_plan(plan)
    assert plan == workdir.read_plan()
    workdir.write_costs(plan, {"a": result_workdirs.COST})
    first = workdir.new_launch()
    file_io.write(first / "provenance.json", "{}")
    second = workdir.new_launch()
    assert first != second
    assert os.fspath(first).startswith(f"{W}/launches/")
    workdir.prepare_trial(plan, plan.trials[0])
    assert {"bucket/w/plan.json", "bucket/w/costs.json", "bucket/w/trials/a-0/trial.json",
            "bucket/w/trials/a-0/sweep.json"} < set(object_store.objects)
    assert tmp_path in Path(workdir.xmanager).parents
    assert workdir.xmanager != SweepWorkdir("gs://bucket/v").xmanager
    assert workdir.xmanager == SweepWorkdir(f"{W}/").xmanager


@pytest.mark.usefixtures("object_store")
def test_a_workdir_that_does_not_exist_is_an_error():
    """The message says whether the sweep or the bucket is missing."""
    with pytest.raises(UserError, match=f"^There is no sweep in {W}: plan.json is missing. "):
        SweepWorkdir(W).read_plan()
    for work in (SweepWorkdir("gs://no/w").read_plan,
                 lambda: SweepWorkdir("gs://no/w").write_plan(result_workdirs.plan({"a": {}}))):
        with pytest.raises(UserError, match=r"^There is no bucket gs://no\.$"):
            work()


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(logs, "_REMOTE_POLL_SECONDS", 0.02)


def start_to_follow(wanted):
    """Follow a trial in a thread; returns the growing list of lines, and the thread."""
    lines = []

    def follow():
        lines.extend(logs.read_log_lines(SweepWorkdir(W), wanted, follow=True))

    thread = threading.Thread(target=follow)
    thread.start()
    return lines, thread


@pytest.mark.usefixtures("_quick")
def test_a_log_is_followed_as_it_is_replaced(object_store, tmp_path):
    """Each line is printed once until the trial ends, even if the start of the log is cut off."""
    write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    log = "bucket/w/trials/b-0/logs/train-1.log"
    object_store.objects[log] = b"one\n"
    lines, thread = start_to_follow("b-0")
    head = [f"==> gs://{log} <==\n"]
    wait_until(lambda: [*head, "one\n"] == lines)
    object_store.objects[log] = "one\ntwö\n".encode()
    wait_until(lambda: [*head, "one\n", "twö\n"] == lines)
    # As the worker writes it: 4 bytes are cut off, 5 were printed before.
    left_out = "[the first 4 bytes are in the logs of the machine]\n"
    object_store.objects[log] = f"{left_out}twö\nthree\n".encode()
    wait_until(lambda: "three\n" == lines[-1])
    # More is cut off than was printed.
    left_out = "[the first 100 bytes are in the logs of the machine]\n"
    object_store.objects[log] = f"{left_out}later\n".encode()
    wait_until(lambda: "later\n" == lines[-1])
    object_store.objects[log] = f"{left_out}later\nlast\n".encode()
    an_attempt("interrupted").write(f"{W}/trials/b-0")
    thread.join(20)
    assert [*head, "one\n", "twö\n", "three\n", left_out, "later\n", "last\n"] == lines


def test_the_log_that_was_written_last_is_found(object_store, tmp_path):
    """The newest log of all trials, or of all attempts of one trial, is chosen."""
    write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    with pytest.raises(UserError, match="No trial in gs://bucket/w has written a log yet"):
        list(logs.read_log_lines(SweepWorkdir(W), None, follow=False))
    with pytest.raises(UserError, match="Trial b-0 has not written a log yet"):
        list(logs.read_log_lines(SweepWorkdir(W), "b-0", follow=False))
    for number, name in enumerate(("b-0/logs/train-2.log", "b-1/logs/train-1.log",
                                   "b-0/logs/train-1.log")):
        object_store.seconds_ahead = 10.0 * number
        object_store.objects[f"bucket/w/trials/{name}"] = b"x\n"
    heads = [next(logs.read_log_lines(SweepWorkdir(W), wanted, False)) for wanted in (None, "b-1")]
    assert [f"==> {W}/trials/b-0/logs/train-1.log <==\n",
            f"==> {W}/trials/b-1/logs/train-1.log <==\n"] == heads


def test_a_trial_that_finishes_between_two_requests_is_finished(object_store, tmp_path):
    """It is not reported as interrupted, as the result is read last."""
    write_sweep(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    folder = f"{W}/trials/b-0"
    object_store.fail("slow", method="GET", containing="state-train", seconds=0.5)
    found = []
    reader = threading.Thread(target=lambda: found.append(trial_status.read_status(folder).status))
    reader.start()
    wait_until(lambda: not object_store.failing)
    object_store.objects["bucket/w/trials/b-0/result.json"] = b'{"step": 1}'
    an_attempt("finished").write(folder)
    reader.join()
    assert ["finished"] == found


def command(words, server):
    """Run a command; returns its status, its output, and whether TensorFlow was imported."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deepmac_ablate.cli", *words],
        env=os.environ | server.environment(), capture_output=True, text=True)
    modules = re.findall(r"^import time: .*\|\s*(\S+)$", run.stderr, re.MULTILINE)
    assert "deepmac_ablate.errors" in modules
    return run.returncode, run.stdout, "tensorflow" in modules


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["status"], ["logs"], ["table"],
    # Without pictures, whose dataset may be here or not.
    pytest.param(["report", "--images", "0", "--output"], marks=pytest.mark.extended),
], ids=lambda words: words[0])
def test_commands_print_the_same_as_on_a_disk(object_store, tmp_path, words, monkeypatch):
    """The commands read a recorded sweep, without importing TensorFlow."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = tmp_path / "w"
    copy(RECORDED, object_store)
    object_store.objects["bucket/w/trials/42b4cbf64f0f/logs/train-1.log"] = b"step 1\nstep 2\n"
    for name, content in object_store.objects.items():
        path = tmp_path / name.removeprefix("bucket/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    outputs = []
    for number, where in enumerate((str(here), W)):
        page = tmp_path / f"{number}.html"
        file = [str(page)] if "--output" in words else []
        status, out, loads_tensorflow = command(
            [words[0], where, *words[1:], *file], object_store)
        assert (0, False) == (status, loads_tensorflow)
        text = out + (page.read_text() if file else "")
        outputs.append(text.replace(str(page), "PAGE").replace(where, "W"))
    assert outputs[0] == outputs[1]
    assert {"status": "18 finished", "logs": "step 2\n", "table": "### mask IoU",
            "report": "<html"}[words[0]] in outputs[1]
