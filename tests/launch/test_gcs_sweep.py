"""A sweep whose workdir is on ``gs://``: observed, followed and shown as one on a disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import logs, trial_status
from deepmac_ablate.launch.status_reader import Observer
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from tests.helpers import result_workdirs
from tests.helpers.supervised import wait_until
from tests.launch.test_trial_status import a_submission, an_attempt

RECORDED = Path(__file__).parents[1] / "golden" / "sweeps" / "recorded_a"
W = "gs://bucket/w"


def copy(folder, server):
    """Copy a folder of a disk to `W`."""
    server.objects.update({
        f"bucket/w/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*") if path.is_file()})


def swept(workdir):
    """Eight trials: two finished, one of each other status, and two that were never launched."""
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


def test_a_sweep_is_observed_as_on_a_disk(object_store, tmp_path):
    """All statuses with step, loss and cause; how long what runs has been running apart."""
    plan = swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    rows = [Observer(SweepWorkdir(where), plan).with_code() for where in (tmp_path, W)]
    local, remote = ([row._replace(seconds=round(row.seconds, -2)) for row in it] for it in rows)
    assert local == remote
    assert ["finished", "finished", "running", "failed", "interrupted", "queued", "new", "new"] == [
        row.status for row in remote]
    assert [(20, 1.0)] * 3 == [(row.step, row.loss) for row in remote[2:5]]
    assert ["", "its own cause", "its own cause", "no machines"] == [
        row.cause for row in remote[2:6]]
    assert "trials/b-1/logs/train-1.log" == remote[3].log


def test_what_changes_is_seen(object_store, tmp_path):
    """A trial that finishes, one that is launched; what is finished is not read again."""
    plan = swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    observer = Observer(SweepWorkdir(W), plan)
    observer.rows()
    object_store.objects["bucket/w/trials/b-0/result.json"] = b"{}"
    a_submission("queued").write(f"{W}/trials/d-0")
    object_store.requests.clear()
    assert ["finished"] * 3 + ["failed", "interrupted", "queued", "queued", "new"] == [
        row.status for row in observer.rows()]
    asked = {request.path for request in object_store.requests}
    assert not [path for path in asked if "/trials/a-" in path or "/trials/d-1" in path]
    assert "queued" == observer.row(plan.trials[6]).status


def test_a_long_log_of_metrics_is_read_at_its_end(object_store, tmp_path):
    """The last line is found without the megabytes before."""
    plan = swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    line = b'{"step": %d, "wall_time": 1.0, "train/total_loss": 0.5}\n'
    object_store.objects["bucket/w/trials/b-0/metrics.jsonl"] = b"".join(
        line % step for step in range(20_000)) + b'{"step": 20000, "wa'
    object_store.requests.clear()
    assert 19_999 == Observer(SweepWorkdir(W), plan).row(plan.trials[2]).step
    [request] = [it for it in object_store.requests if it.path.endswith("b-0/metrics.jsonl")]
    assert "bytes=-16384" == request.headers["range"]


def test_a_launch_leaves_its_files(object_store, monkeypatch, tmp_path):
    """Plan, costs and a folder of its own for each; XManager's database is no object."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    workdir = SweepWorkdir(W)
    plan = result_workdirs.plan({"a": {"arm": "a"}}, seeds=2)
    workdir.write_plan(plan)
    assert plan == workdir.read_plan()
    workdir.write_costs(plan, {"a": result_workdirs.COST})
    first = workdir.new_launch()
    storage.write(first / "provenance.json", "{}")
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
def test_a_workdir_that_cannot_be_is_told_in_a_sentence():
    """Without a sweep, without a bucket, without rights to write."""
    with pytest.raises(UserError, match=f"^There is no sweep in {W}: plan.json is missing; "):
        SweepWorkdir(W).read_plan()
    for work in (SweepWorkdir("gs://no/w").read_plan,
                 lambda: SweepWorkdir("gs://no/w").write_plan(result_workdirs.plan({"a": {}}))):
        with pytest.raises(UserError, match=r"^There is no bucket gs://no\.$"):
            work()


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(logs, "_SECONDS_BETWEEN_REMOTE_LOOKS", 0.02)


def followed(wanted):
    """Start to follow a trial; returns what was said so far, and the thread that follows."""
    said = []

    def follow():
        said.extend(logs.lines(SweepWorkdir(W), wanted, follow=True))

    thread = threading.Thread(target=follow)
    thread.start()
    return said, thread


@pytest.mark.usefixtures("_quick")
def test_a_log_is_followed_as_it_is_replaced(object_store, tmp_path):
    """Each line once, also where only the end of a long log is there, until the trial ends."""
    swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    log = "bucket/w/trials/b-0/logs/train-1.log"
    object_store.objects[log] = b"one\n"
    said, thread = followed("b-0")
    head = [f"==> gs://{log} <==\n"]
    wait_until(lambda: [*head, "one\n"] == said)
    object_store.objects[log] = "one\ntwö\n".encode()
    wait_until(lambda: [*head, "one\n", "twö\n"] == said)
    # As the worker writes it: 4 bytes are gone, 5 were said before.
    left_out = "[the first 4 bytes are in the logs of the machine]\n"
    object_store.objects[log] = f"{left_out}twö\nthree\n".encode()
    wait_until(lambda: "three\n" == said[-1])
    # More is gone than was said.
    left_out = "[the first 100 bytes are in the logs of the machine]\n"
    object_store.objects[log] = f"{left_out}later\n".encode()
    wait_until(lambda: "later\n" == said[-1])
    object_store.objects[log] = f"{left_out}later\nlast\n".encode()
    an_attempt("interrupted").write(f"{W}/trials/b-0")
    thread.join(20)
    assert [*head, "one\n", "twö\n", "three\n", left_out, "later\n", "last\n"] == said


def test_the_log_that_was_written_last_is_found(object_store, tmp_path):
    """Among all trials, or all attempts of one."""
    swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    with pytest.raises(UserError, match="No trial in gs://bucket/w has printed anything yet"):
        list(logs.lines(SweepWorkdir(W), None, follow=False))
    with pytest.raises(UserError, match="The trial b-0 has printed nothing yet"):
        list(logs.lines(SweepWorkdir(W), "b-0", follow=False))
    for number, name in enumerate(("b-0/logs/train-2.log", "b-1/logs/train-1.log",
                                   "b-0/logs/train-1.log")):
        object_store.seconds_ahead = 10.0 * number
        object_store.objects[f"bucket/w/trials/{name}"] = b"x\n"
    heads = [next(logs.lines(SweepWorkdir(W), wanted, False)) for wanted in (None, "b-1")]
    assert [f"==> {W}/trials/b-0/logs/train-1.log <==\n",
            f"==> {W}/trials/b-1/logs/train-1.log <==\n"] == heads


def test_a_trial_that_ends_is_not_taken_for_interrupted(object_store, tmp_path):
    """Though it does so between two requests: its result is asked for last."""
    swept(SweepWorkdir(tmp_path))
    copy(tmp_path, object_store)
    folder = f"{W}/trials/b-0"
    object_store.fail("slow", method="GET", containing="state-train", seconds=0.5)
    found = []
    reader = threading.Thread(target=lambda: found.append(trial_status.read_status(folder).status))
    reader.start()
    wait_until(lambda: not object_store.failing)
    object_store.objects["bucket/w/trials/b-0/result.json"] = b"{}"
    an_attempt("finished").write(folder)
    reader.join()
    assert ["finished"] == found


def command(words, server):
    """Run a command as people do; returns status, output, and whether TensorFlow was loaded."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deepmac_ablate.cli", *words],
        env=os.environ | server.environment(), capture_output=True, text=True)
    modules = re.findall(r"^import time: .*\|\s*(\S+)$", run.stderr, re.MULTILINE)
    assert "deepmac_ablate.errors" in modules
    return run.returncode, run.stdout, "tensorflow" in modules


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["status"], ["logs"], ["table"],
    pytest.param(["report", "--output"], marks=pytest.mark.extended),
], ids=lambda words: words[0])
def test_a_command_says_of_gs_what_it_says_of_a_disk(object_store, tmp_path, words, monkeypatch):
    """Without TensorFlow; the sweep is a recorded one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = tmp_path / "w"
    copy(RECORDED, object_store)
    object_store.objects["bucket/w/trials/42b4cbf64f0f/logs/train-1.log"] = b"step 1\nstep 2\n"
    for name, content in object_store.objects.items():
        path = tmp_path / name.removeprefix("bucket/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = []
    for number, where in enumerate((str(here), W)):
        page = tmp_path / f"{number}.html"
        file = [str(page)] if "--output" in words else []
        status, out, loads_tensorflow = command(
            [words[0], where, *words[1:], *file], object_store)
        assert (0, False) == (status, loads_tensorflow)
        said = out + (page.read_text() if file else "")
        found.append(said.replace(str(page), "PAGE").replace(where, "W"))
    assert found[0] == found[1]
    assert {"status": "18 finished", "logs": "step 2\n", "table": "### mask IoU",
            "report": "<html"}[words[0]] in found[1]
