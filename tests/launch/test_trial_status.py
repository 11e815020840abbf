"""The status of a trial in the cloud, from its jobs' files and the cloud's answers."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from etils import epath

from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.trial.trial import Trial

# Of an earlier job than the last submission.
BEFORE = {"submission": 1}
# In seconds from now.
SILENT = {"heartbeat": -130.0}


def an_attempt(state, heartbeat=0.0, **fields):
    """An attempt on another machine."""
    now = time.time()
    attempt = Attempt(
        "train", 1, state, "elsewhere", 1, None, started=now - 940, heartbeat=now + heartbeat,
        cause=None if state == "running" else "its own cause", submission=2)
    return dataclasses.replace(attempt, **fields)


def a_submission(state, **fields):
    """A job that was submitted some minutes ago."""
    now = time.time()
    submission = Submission(
        "train", 2, "gke", {}, "name", "resource", "v5e-4", "image", now - 1000, state,
        "the cloud's words", now)
    return dataclasses.replace(submission, **fields)


@pytest.fixture(params=["disk", "gs"])
def folder(request, tmp_path):
    """A trial's folder, on a disk and on gs://."""
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("object_store")
    return "gs://bucket/w/trials/1"


@pytest.mark.parametrize(("attempt", "when", "submission", "status", "cause"), [
    # Submitted, no attempt yet.
    (None, {}, "queued", "queued", "the cloud's words"),
    (None, {}, "running", "queued", "the cloud's words"),
    (None, {}, "preempted", "queued", "the cloud's words"),
    # Running, according to its heartbeat.
    ("running", {}, "queued", "running", ""),
    # Its machine is gone, and it is waiting for another one.
    ("running", SILENT, "preempted", "queued", "the cloud's words"),
    ("interrupted", {}, "preempted", "queued", "the cloud's words"),
    # Failed; the attempt knows the cause better than the cloud.
    ("failed", {}, "running", "failed", "its own cause"),
    ("failed", {}, "failed", "failed", "its own cause"),
    # An earlier job failed, and a retry is waiting.
    ("failed", BEFORE, "queued", "queued", "the cloud's words"),
    ("running", BEFORE, "queued", "queued", "the cloud's words"),
    # It never started.
    (None, {}, "failed", "failed", "the cloud's words"),
    (None, {}, "expired", "failed", "the cloud's words"),
    ("interrupted", BEFORE, "failed", "failed", "the cloud's words"),
    (None, {}, "cancelled", "new", ""),
    (None, {}, "gone", "new", ""),
    ("failed", BEFORE, "cancelled", "failed", "its own cause"),
    # It ran and was interrupted.
    ("interrupted", {}, "cancelled", "interrupted", "its own cause"),
    ("running", SILENT, "failed", "interrupted", "the cloud's words"),
    # Its machine was preempted a moment ago, which only the cloud knows.
    ("running", {}, "failed", "interrupted", "the cloud's words"),
])  # fmt: skip
def test_status_from_attempt_and_submission(folder, attempt, when, submission, status, cause):
    """The heartbeat has priority, then the state that the attempt wrote, then the cloud's state."""
    a_submission(submission).write(folder)
    made = an_attempt(attempt, **when) if attempt else None
    if made is not None:
        made.write(folder)
    assert (status, made, cause, "") == tuple(trial_status.read_status(folder))


def test_a_result_finishes_a_trial(folder):
    """A result has priority over a failed job."""
    a_submission("failed").write(folder)
    assert "failed" == trial_status.read_status(folder).status
    file_io.write(epath.Path(folder) / "result.json", '{"step": 1}')
    assert trial_status.TrialStatus("finished") == trial_status.read_status(folder)


def test_a_trial_with_two_roles_has_the_status_of_the_worse(folder):
    """A trial is queued if one of its jobs is, and failed if one of its present jobs has."""
    a_submission("succeeded").write(folder)
    a_submission("queued", role="eval").write(folder)
    an_attempt("interrupted").write(folder)
    assert "queued" == trial_status.read_status(folder).status
    an_attempt("failed", role="eval", **BEFORE).write(folder)
    assert "queued" == trial_status.read_status(folder).status
    an_attempt("failed", role="eval").write(folder)
    assert ("failed", "eval") == (
        trial_status.read_status(folder).status, trial_status.read_status(folder).attempt.role)


@pytest.mark.usefixtures("object_store")
@pytest.mark.parametrize(("age", "status"), [(100.0, "running"), (130.0, "interrupted")])
def test_a_heartbeat_on_gs_is_valid_for_two_minutes(age, status):
    """A trial whose last heartbeat is older is interrupted."""
    an_attempt("running", heartbeat=-age, submission=None).write("gs://bucket/w/trials/1")
    assert status == trial_status.read_status("gs://bucket/w/trials/1").status


@pytest.mark.parametrize(("name", "status"), [
    # Launching again writes these anew.
    ("state-train.json", "interrupted"), ("result.json", "interrupted"),
    # The job in the cloud may run.
    ("submission-eval.json", "failed")])
@pytest.mark.parametrize("content", ["", "null", "{}", '{"role": "train", "number": "x"}'])
def test_a_broken_file_is_the_cause_of_the_status(folder, name, status, content):
    """A trial with a broken file is not finished, and the cause names the file."""
    file_io.write(epath.Path(folder) / name, content.replace("role", "step"))
    found = trial_status.read_status(folder)
    assert status == found.status
    assert found.cause.startswith(f"{folder}/{name} is broken: ")


def test_a_broken_state_does_not_matter_beside_a_result(folder):
    """A trial with a valid result is finished, whatever its other files hold."""
    file_io.write(epath.Path(folder) / "result.json", '{"a/b/seen": 0.5}')
    file_io.write(epath.Path(folder) / "state-train.json", "{")
    found = trial_status.read_status(folder)
    assert ("finished", "") == (found.status, found.cause)
    assert "state-train.json" in found.broken


def test_a_running_trial_tells_how_far_its_evaluation_is(tmp_path):
    """A progress.json that an earlier attempt left, or that is broken, tells nothing."""
    planned = PlannedTrial("t", Trial((), (), 0, "a"), {}, 100)
    workdir, folder = SweepWorkdir(tmp_path), tmp_path / "trials" / "t"
    folder.mkdir(parents=True)
    running = an_attempt("running", submission=None)
    running.write(folder)
    reader = StatusReader(workdir, Plan("w", "", {}, "a", (planned,)))
    assert reader.read_row(planned).evaluating is None

    def write(seconds_after_start):
        (folder / "progress.json").write_text(json.dumps({
            "activity": "Evaluating", "done": 61, "total": 150, "seconds": 12.5,
            "time": running.started + seconds_after_start}))
        return reader.read_row(planned).evaluating

    assert (61, 150, 12.5) == write(100.0)
    assert write(-100.0) is None
    (folder / "progress.json").write_text("{")
    assert reader.read_row(planned).evaluating is None
    assert "running" == reader.read_row(planned).status
