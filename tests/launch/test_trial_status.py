"""How a trial is doing that a cloud has taken: what its jobs wrote, and what the cloud says."""

from __future__ import annotations

import dataclasses
import time

import pytest
from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch import trial_status
from deepmac_ablate.launch.cloud_jobs.active_jobs import Submission
from deepmac_ablate.launch.supervision.attempt import Attempt

# What is not of the job that was submitted last, but of one before.
BEFORE = {"submission": 1}
# In seconds from now.
SILENT = {"heartbeat": -130.0}


def an_attempt(state, heartbeat=0.0, **fields):
    """An attempt of another machine."""
    now = time.time()
    made = Attempt(
        "train", 1, state, "elsewhere", 1, None, started=now - 940, heartbeat=now + heartbeat,
        cause=None if state == "running" else "its own cause", submission=2)
    return dataclasses.replace(made, **fields)


def a_submission(state, **fields):
    """A job that was submitted a while ago."""
    now = time.time()
    made = Submission(
        "train", 2, "gke", {}, "name", "resource", "v5e-4", "image", now - 1000, state,
        "the cloud's words", now)
    return dataclasses.replace(made, **fields)


@pytest.fixture(params=["disk", "gs"])
def folder(request, tmp_path):
    """A trial's folder, on a disk or on gs://."""
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("object_store")
    return "gs://bucket/w/trials/1"


@pytest.mark.parametrize(("attempt", "when", "submission", "status", "cause"), [
    # Taken, and nothing heard of yet.
    (None, {}, "queued", "queued", "the cloud's words"),
    (None, {}, "running", "queued", "the cloud's words"),
    (None, {}, "preempted", "queued", "the cloud's words"),
    # At work, whatever the cloud thinks.
    ("running", {}, "queued", "running", ""),
    # Its machine is gone, and it waits for another one.
    ("running", SILENT, "preempted", "queued", "the cloud's words"),
    ("interrupted", {}, "preempted", "queued", "the cloud's words"),
    # It failed; its own words say more.
    ("failed", {}, "running", "failed", "its own cause"),
    ("failed", {}, "failed", "failed", "its own cause"),
    # It failed before, and is tried once more.
    ("failed", BEFORE, "queued", "queued", "the cloud's words"),
    ("running", BEFORE, "queued", "queued", "the cloud's words"),
    # It never came to run.
    (None, {}, "failed", "failed", "the cloud's words"),
    (None, {}, "expired", "failed", "the cloud's words"),
    ("interrupted", BEFORE, "failed", "failed", "the cloud's words"),
    (None, {}, "cancelled", "new", ""),
    (None, {}, "gone", "new", ""),
    ("failed", BEFORE, "cancelled", "failed", "its own cause"),
    # It ran, and went.
    ("interrupted", {}, "cancelled", "interrupted", "its own cause"),
    ("running", SILENT, "failed", "interrupted", "the cloud's words"),
    # Its machine was taken away a moment ago, which only the cloud could say.
    ("running", {}, "failed", "interrupted", "the cloud's words"),
])  # fmt: skip
def test_what_became_of_a_job(folder, attempt, when, submission, status, cause):
    """By its heartbeat first, then by its own words, then by the cloud's."""
    a_submission(submission).write(folder)
    made = an_attempt(attempt, **when) if attempt else None
    if made is not None:
        made.write(folder)
    assert (status, made, cause) == tuple(trial_status.of_folder(folder))


def test_a_result_finishes_a_trial(folder):
    """Whatever else is said of it."""
    a_submission("failed").write(folder)
    assert "failed" == trial_status.of_folder(folder).status
    storage.write(epath.Path(folder) / "result.json", "{}")
    assert trial_status.Standing("finished") == trial_status.of_folder(folder)


def test_each_role_has_its_job(folder):
    """A trial waits if one of its jobs does, and has failed if one did after it was submitted."""
    a_submission("succeeded").write(folder)
    a_submission("queued", role="eval").write(folder)
    an_attempt("interrupted").write(folder)
    assert "queued" == trial_status.of_folder(folder).status
    an_attempt("failed", role="eval", **BEFORE).write(folder)
    assert "queued" == trial_status.of_folder(folder).status
    an_attempt("failed", role="eval").write(folder)
    assert ("failed", "eval") == (
        trial_status.of_folder(folder).status, trial_status.of_folder(folder).attempt.role)


@pytest.mark.usefixtures("object_store")
@pytest.mark.parametrize(("age", "status"), [(100.0, "running"), (130.0, "interrupted")])
def test_a_heartbeat_on_gs_may_be_two_minutes_old(age, status):
    """It comes every 15 s, through a network."""
    an_attempt("running", heartbeat=-age, submission=None).write("gs://bucket/w/trials/1")
    assert status == trial_status.of_folder("gs://bucket/w/trials/1").status


@pytest.mark.parametrize("name", ["state-train.json", "submission-eval.json"])
def test_a_broken_file_is_named(folder, name):
    """It was written whole, so somebody else has changed it."""
    storage.write(epath.Path(folder) / name, "{}")
    with pytest.raises(UserError, match=f"^{folder}/{name} is not a valid .*; delete it"):
        trial_status.of_folder(folder)
